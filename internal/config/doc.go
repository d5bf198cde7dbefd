// Package config owns the settings of authsvc serve: it reads them from flags,
// the environment and a YAML file, checks them, and reports every fault at once.
//
// A flag goes before the environment, that before the file, that before the
// default. The flags are the one list of settings, and the names of variables
// and YAML keys follow from theirs; a library that fills tagged structs would be
// a second list, and would know neither where a value came from nor which must
// not be quoted.
//
// It does not open what the settings name (the store, the keyring, certificates):
// their owners do, and report what they find.
package config
