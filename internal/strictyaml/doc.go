// Package strictyaml owns the parsing of YAML that people write: one document of mappings,
// lists and plain values. Anything ambiguous is a fault: duplicate and unknown keys, tags,
// anchors, aliases, merge keys, directives, further documents.
//
// No text, however odd, crashes it or takes it long: depth and size are checked before
// anything is built. No fault quotes the text, which may be a misplaced secret. It does not
// own what a file may say (packages appsfile and config).
package strictyaml
