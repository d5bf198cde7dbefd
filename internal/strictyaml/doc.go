// Package strictyaml reads the YAML of files that people write: one document of
// mappings, lists and plain values. What leaves room for doubt is a fault: duplicate and
// unknown keys, tags, anchors, aliases, merge keys, directives, further documents.
//
// No text, however odd, crashes it, and none takes it long: depth and size are checked
// before anything is built. No fault quotes the text, which may be a secret in the wrong
// place. It does not own what a file may say (packages appsfile and config).
package strictyaml
