package httpapi

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"authsvc/internal/answer"
)

// openAPIIssuer is the placeholder for the issuer in openapi.yaml. It is always in double
// quotes, so that a JSON string can replace it in both forms.
const openAPIIssuer = "https://auth.example.com"

//go:embed openapi.yaml
var openAPIYAML string

// openAPIAsJSON returns openapi.yaml as JSON, with its keys in the same order. It does so
// once for the process: parsing the YAML takes tens of milliseconds.
var openAPIAsJSON = sync.OnceValues(func() (string, error) {
	b, err := yaml.YAMLToJSON([]byte(openAPIYAML))
	if err == nil && !json.Valid(b) {
		err = errors.New("can't be converted to JSON")
	}
	return string(b), err
})

// openAPI holds the OpenAPI document of the service, in both forms.
type openAPI struct{ asYAML, asJSON []byte }

// newOpenAPI returns the document of a service with an issuer.
func newOpenAPI(issuer string) (*openAPI, error) {
	asJSON, err := openAPIAsJSON()
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	quoted, err := json.Marshal(issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	r := strings.NewReplacer(openAPIIssuer, string(quoted[1:len(quoted)-1]))
	return &openAPI{asYAML: []byte(r.Replace(openAPIYAML)), asJSON: []byte(r.Replace(asJSON))}, nil
}

// yaml handles GET /openapi.yaml (RFC 9512).
func (o *openAPI) yaml(x *answer.Exchange) error {
	x.Public("application/yaml", o.asYAML)
	return nil
}

// json handles GET /openapi.json.
func (o *openAPI) json(x *answer.Exchange) error {
	x.Public("application/json", o.asJSON)
	return nil
}
