// Package wholefile owns how files that running services read are made and
// changed: whole or not at all, by one command at a time, and with their mode and
// owner kept. It does not own what they hold.
package wholefile
