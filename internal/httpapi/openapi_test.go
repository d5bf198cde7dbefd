package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
	"authsvc/internal/httpapi"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// description is openapi.yaml as what requests and answers are checked against.
// Every schema of it is compiled when it is read, since each of the many
// requests of these tests is checked. (kin-openapi would compile a schema of
// OpenAPI 3.1 each time, and looks past headers and members that the document
// does not have.)
type description struct {
	operations map[string]map[string]*operation // by path, with {code}, and method
	otherwise  map[string]*response             // by status
}

type operation struct {
	security  []map[string]any              // alternatives
	query     map[string]*jsonschema.Schema // by parameter
	form      *jsonschema.Schema            // of the body; nil: it is not read
	responses map[string]*response          // by status
}

type response struct {
	headers  map[string]*header
	bodies   map[string]*jsonschema.Schema // by media type; a nil schema: anything
	codes    []string                      // error_code of a failure
	examples map[string]map[string]any
}

type header struct {
	required bool
	integer  bool
	schema   *jsonschema.Schema
}

// uninteresting headers are HTTP's own, or the same on every answer.
var uninteresting = []string{"Connection", "Content-Length", "Content-Type", "Date", "Pragma", "X-Content-Type-Options"}

var readDescriptionOnce = sync.OnceValues(readDescription)

func described(t *testing.T) *description {
	t.Helper()
	d, err := readDescriptionOnce()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// check tells what in an exchange is not as the document has it. A request is
// looked at only where it was accepted: others are wrong on purpose.
func (d *description) check(r *http.Request, sent []byte, a received) error {
	responses := d.otherwise
	op := d.find(r)
	if op != nil {
		responses = op.responses
	}
	res := responses[strconv.Itoa(a.status)]
	if res == nil {
		return fmt.Errorf("status %d is not documented", a.status)
	}
	err := res.check(a, r.Method != http.MethodHead)
	if op != nil && a.status < 300 {
		err = errors.Join(err, op.checkRequest(r, sent))
	}
	return err
}

// find returns the operation that a request is for; nil if there is none.
func (d *description) find(r *http.Request) *operation {
	if op := d.operations[r.URL.Path][r.Method]; op != nil {
		return op
	}
	if code, ok := strings.CutPrefix(r.URL.Path, "/errors/"); ok && code != "" && !strings.Contains(code, "/") {
		return d.operations["/errors/{code}"][r.Method]
	}
	return nil
}

func (o *operation) checkRequest(r *http.Request, sent []byte) (err error) {
	for name, schema := range o.query {
		if v := r.URL.Query().Get(name); v != "" {
			err = errors.Join(err, problem("parameter "+name, schema.Validate(v)))
		}
	}
	form := map[string]any{}
	if o.form != nil {
		values, e := url.ParseQuery(string(sent))
		err = errors.Join(err, problem("body", e))
		for k := range values {
			if v := values.Get(k); v != "" { // an empty one counts as missing
				form[k] = v
			}
		}
		err = errors.Join(err, problem("body", o.form.Validate(form)))
	}
	scheme, _, _ := strings.Cut(strings.ToLower(r.Header.Get("Authorization")), " ")
	if len(o.security) > 0 && !slices.ContainsFunc(o.security, func(way map[string]any) bool {
		if len(way) == 0 { // in words: the client is in the body
			return scheme == "" && form["client_id"] != nil && form["client_secret"] != nil
		}
		_, ok := way[scheme]
		return ok
	}) {
		err = errors.Join(err, fmt.Errorf("the caller authenticates in none of the ways %v", o.security))
	}
	return err
}

func (res *response) check(a received, withBody bool) (err error) {
	for name, values := range a.header {
		if res.headers[name] == nil && !slices.Contains(uninteresting, name) {
			err = errors.Join(err, fmt.Errorf("header %s is not documented", name))
		}
		if len(values) > 1 {
			err = errors.Join(err, fmt.Errorf("header %s is there more than once", name))
		}
	}
	for name, h := range res.headers {
		switch values := a.header[name]; {
		case len(values) == 0:
			if h.required {
				err = errors.Join(err, fmt.Errorf("header %s is missing", name))
			}
		case h.integer:
			err = errors.Join(err, problem("header "+name, h.schema.Validate(json.Number(values[0]))))
		default:
			err = errors.Join(err, problem("header "+name, h.schema.Validate(values[0])))
		}
	}
	if !withBody || len(res.bodies) == 0 {
		if len(a.body) > 0 {
			err = errors.Join(err, errors.New("there is a body"))
		}
		return err
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	schema, ok := res.bodies[media]
	switch {
	case !ok:
		err = errors.Join(err, fmt.Errorf("content type %q is not documented", media))
	case media == gin.MIMEJSON:
		v, e := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
		if e == nil {
			e = schema.Validate(v)
		}
		err = errors.Join(err, problem("body", e))
	case len(a.body) == 0:
		err = errors.Join(err, errors.New("there is no body"))
	}
	if len(res.codes) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(res.examples)), func(e map[string]any) bool {
		return e["error_code"] == a.text("error_code") && e["error_msg"] == a.text("error_msg")
	}) {
		err = errors.Join(err, errors.New("no example has its error_code and error_msg"))
	}
	return err
}

func problem(where string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", where, err)
}

// descriptionReader walks through the document.
type descriptionReader struct {
	root     any
	compiler *jsonschema.Compiler
}

// place is a value in the document. Its pointer is where it stands, behind any
// $ref.
type place struct {
	pointer string
	value   any
}

func readDescription() (*description, error) {
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	converted, err := yaml.YAMLToJSON(source)
	if err != nil {
		return nil, err
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(converted))
	if err != nil {
		return nil, err
	}
	r := &descriptionReader{root: root, compiler: jsonschema.NewCompiler()}
	r.compiler.AssertFormat()
	if err := r.compiler.AddResource("openapi.json", root); err != nil {
		return nil, err
	}
	d := &description{operations: map[string]map[string]*operation{}}
	paths := place{"/paths", root.(map[string]any)["paths"]}
	for path := range paths.members() {
		item := r.at(paths, path)
		if path == "x-otherwise" {
			if d.otherwise, err = r.responses(r.at(item, "responses")); err != nil {
				return nil, err
			}
			continue
		}
		d.operations[path] = map[string]*operation{}
		for method := range item.members() {
			if method == "parameters" {
				continue
			}
			if d.operations[path][strings.ToUpper(method)], err = r.operation(item, method); err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
	}
	return d, nil
}

func (p place) members() map[string]any {
	m, _ := p.value.(map[string]any)
	return m
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// at is the value of a member, or nil. A reference is followed.
func (r *descriptionReader) at(p place, key string) place {
	p = place{p.pointer + "/" + pointerEscape.Replace(key), p.members()[key]}
	ref, ok := p.members()["$ref"].(string)
	if !ok || len(p.members()) > 1 {
		return p
	}
	target := place{"", r.root}
	for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		target = r.at(target, key)
	}
	if target.value == nil {
		panic("nothing is at " + ref)
	}
	return target
}

func (r *descriptionReader) operation(item place, method string) (*operation, error) {
	o := &operation{query: map[string]*jsonschema.Schema{}}
	op := r.at(item, method)
	for _, s := range op.members()["security"].([]any) {
		o.security = append(o.security, s.(map[string]any))
	}
	parameters, _ := item.members()["parameters"].([]any)
	for i := range parameters {
		list := place{item.pointer + "/parameters", map[string]any{"0": parameters[i]}}
		p := r.at(list, "0") // always a reference
		if p.members()["in"] == "query" {
			schema, err := r.compile(r.at(p, "schema"))
			if err != nil {
				return nil, err
			}
			o.query[p.members()["name"].(string)] = schema
		}
	}
	var err error
	form := r.at(r.at(r.at(r.at(op, "requestBody"), "content"), "application/x-www-form-urlencoded"), "schema")
	if form.value != nil {
		if o.form, err = r.compile(form); err != nil {
			return nil, err
		}
	}
	o.responses, err = r.responses(r.at(op, "responses"))
	return o, err
}

func (r *descriptionReader) responses(p place) (map[string]*response, error) {
	all := map[string]*response{}
	for status := range p.members() {
		var err error
		if all[status], err = r.response(r.at(p, status)); err != nil {
			return nil, fmt.Errorf("%s: %w", status, err)
		}
	}
	return all, nil
}

func (r *descriptionReader) response(p place) (*response, error) {
	res := &response{headers: map[string]*header{}, bodies: map[string]*jsonschema.Schema{}, examples: map[string]map[string]any{}}
	headers := r.at(p, "headers")
	for name := range headers.members() {
		h := r.at(headers, name)
		schema := r.at(h, "schema")
		compiled, err := r.compile(schema)
		if err != nil {
			return nil, err
		}
		res.headers[http.CanonicalHeaderKey(name)] = &header{
			required: h.members()["required"] == true, integer: schema.members()["type"] == "integer", schema: compiled,
		}
	}
	content := r.at(p, "content")
	for media := range content.members() {
		schema := r.at(r.at(content, media), "schema")
		if schema.value == nil {
			res.bodies[media] = nil
			continue
		}
		var err error
		if res.bodies[media], err = r.compileStrict(schema); err != nil {
			return nil, err
		}
		codes, _ := r.at(r.at(r.at(schema, "properties"), "error_code"), "enum").value.([]any)
		for _, c := range codes {
			res.codes = append(res.codes, c.(string))
		}
		examples := r.at(r.at(content, media), "examples")
		for name := range examples.members() {
			value := r.at(r.at(examples, name), "value")
			if err := res.bodies[media].Validate(value.value); err != nil {
				return nil, fmt.Errorf("example %s: %w", name, err)
			}
			res.examples[name] = value.members()
		}
	}
	return res, nil
}

func (r *descriptionReader) compile(p place) (*jsonschema.Schema, error) {
	return r.compiler.Compile("openapi.json#" + p.pointer)
}

// compileStrict compiles the schema of an answer: a member that it does not have
// is a fault of the document, though clients are to ignore it.
func (r *descriptionReader) compileStrict(p place) (*jsonschema.Schema, error) {
	name := "strict" + strings.NewReplacer("/", "-", "~", "-").Replace(p.pointer) + ".json"
	err := r.compiler.AddResource(name, map[string]any{"$ref": "openapi.json#" + p.pointer, "unevaluatedProperties": false})
	if exists := (*jsonschema.ResourceExistsError)(nil); err != nil && !errors.As(err, &exists) {
		return nil, err
	}
	return r.compiler.Compile(name)
}

// The document is valid OpenAPI 3.1, and the same in both forms. Its URLs are the
// issuer's, whatever the issuer and the Host header.
func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{issuer, `http://[::1]:8080/it's&a"path\`} {
		s := newService(t, func(c *httpapi.Config) { c.Issuer = issuer })
		var forms [][]byte
		for path, contentType := range map[string]string{"/openapi.yaml": "application/yaml", "/openapi.json": "application/json"} {
			for _, method := range []string{http.MethodHead, http.MethodGet} {
				r, err := http.NewRequest(method, s.url+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = "evil.example.com"
				a := s.do(r)
				if a.status != 200 || a.header.Get("Content-Type") != contentType || a.header.Get("Cache-Control") != "public, max-age=300" ||
					bytes.Contains(a.body, []byte("evil")) || (len(a.body) > 0) != (method == http.MethodGet) {
					t.Fatalf("%s %s: %d %v", method, path, a.status, a.header)
				}
				if method == http.MethodHead {
					continue
				}
				doc, err := openapi3.NewLoader().LoadFromData(a.body)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
					t.Errorf("%s: %v", path, err)
				}
				if !doc.IsOpenAPI31OrLater() || len(doc.Servers) != 1 || doc.Servers[0].URL != issuer {
					t.Errorf("%s: OpenAPI %s, servers %v", path, doc.OpenAPI, doc.Servers)
				}
				b, err := doc.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(b), "auth.example.com") != (issuer == "https://auth.example.com") {
					t.Errorf("%s has URLs of another issuer", path)
				}
				forms = append(forms, b)
			}
		}
		if d := cmp.Diff(string(forms[0]), string(forms[1])); d != "" {
			t.Errorf("YAML and JSON differ:\n%s", d)
		}
	}
}

// What the document describes is what is served: each operation, and nothing more.
func TestOpenAPIOperations(t *testing.T) {
	t.Parallel()
	h, err := httpapi.New(httpapi.Config{Issuer: issuer, Telemetry: telemetry.NewMetrics(token.NewClock(time.Now))})
	if err != nil {
		t.Fatal(err)
	}
	var served, documented []string
	for _, r := range h.Routes() {
		served = append(served, r.Method+" "+strings.Replace(r.Path, ":code", "{code}", 1))
	}
	for path, methods := range described(t).operations {
		for method := range methods {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	if d := cmp.Diff(served, documented); d != "" {
		t.Errorf("operations (-served +documented):\n%s", d)
	}
}

// planned are rows that clients should be ready for, and that no code answers yet.
var planned = []apierr.Row{apierr.Throttled, apierr.QuotaUsedUp}

// Every failure that the service can answer is in the document, where it belongs,
// in the words of the table; and no other.
func TestOpenAPIErrors(t *testing.T) {
	t.Parallel()
	d := described(t)
	answered, literals := readSources(t)
	documented := map[apierr.Row]bool{}
	look := func(where string, responses map[string]*response) {
		for status, res := range responses {
			var exemplified []string
			for name, e := range res.examples {
				code, _ := e["error_code"].(string)
				if active, ok := e["active"]; ok && (active == true || code == "") {
					continue
				}
				if len(res.codes) == 0 { // the reason of an inactive token
					if len(apierr.ByCode(code)) == 0 || apierr.ByCode(code)[0].Message() != e["error_msg"] {
						t.Errorf("%s: example %s is no row of the table", where, name)
					}
					continue
				}
				exemplified = append(exemplified, code)
				i := slices.IndexFunc(apierr.ByCode(code), func(r apierr.Row) bool { return r.Message() == e["error_msg"] })
				if i < 0 {
					t.Errorf("%s: example %s is no row of the table", where, name)
					continue
				}
				row := apierr.ByCode(code)[i]
				documented[row] = true
				forNginx := strings.HasSuffix(where, "/oauth/verify") && (status == "401" || status == "403")
				if status != strconv.Itoa(row.Status()) && !forNginx {
					t.Errorf("%s: example %s stands under %s, the row has %d", where, name, status, row.Status())
				}
				if oauth := e["error"]; oauth != row.OAuthName() && oauth != "invalid_scope" && oauth != "insufficient_scope" {
					t.Errorf("%s: example %s has the error %s, the row %s", where, name, oauth, row.OAuthName())
				}
				if e["error_uri"] != issuer+"/errors/"+code {
					t.Errorf("%s: example %s has the error_uri %s", where, name, e["error_uri"])
				}
				if hint := e["error_description"].(string); answered[row] && !literals.begin(hint) {
					t.Errorf("%s: no code has the error_description of example %s: %s", where, name, hint)
				}
			}
			slices.Sort(exemplified)
			if codes := slices.Sorted(slices.Values(res.codes)); !slices.Equal(codes, slices.Compact(exemplified)) {
				t.Errorf("%s: %s has the codes %v and examples of %v", where, status, codes, exemplified)
			}
		}
	}
	for path, methods := range d.operations {
		for method, op := range methods {
			look(method+" "+path, op.responses)
		}
	}
	look("otherwise", d.otherwise)
	for row := range apierr.All() {
		switch {
		case answered[row] && !documented[row]:
			t.Errorf("%s (%d) is answered, and no operation has it", row, row.Status())
		case documented[row] && !answered[row] && !slices.Contains(planned, row):
			t.Errorf("%s (%d) is documented, and nothing answers it", row, row.Status())
		}
	}
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range regexp.MustCompile(`APIG\.[0-9]{4}`).FindAllString(string(text), -1) {
		if len(apierr.ByCode(code)) == 0 {
			t.Errorf("%s is not in the table", code)
		}
	}
}

// readSources returns the rows that the code of the service names, and its string
// literals, among them the hints.
func readSources(t *testing.T) (rows map[apierr.Row]bool, literals texts) {
	t.Helper()
	rows = map[apierr.Row]bool{}
	names := rowNames(t)
	for _, pkg := range []string{".", "../answer", "../token", "../app"} {
		files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources in %s: %v", pkg, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(parseFile(t, name), func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "apierr" && names[n.Sel.Name] != 0 {
						rows[names[n.Sel.Name]] = true
					}
				case *ast.BasicLit:
					if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == gotoken.STRING {
						literals = append(literals, s)
					}
				}
				return true
			})
		}
	}
	return rows, literals
}

type texts []string

// begin tells whether a hint begins with one of the texts: some are put together
// at run time.
func (t texts) begin(hint string) bool {
	return slices.ContainsFunc(t, func(s string) bool { return len(s) > 30 && strings.HasPrefix(hint, s) })
}

// rowNames maps the names of the constants of apierr to their rows.
func rowNames(t *testing.T) map[string]apierr.Row {
	t.Helper()
	names := map[string]apierr.Row{}
	for _, decl := range parseFile(t, "../errors/rows.go").Decls {
		if g, ok := decl.(*ast.GenDecl); ok && g.Tok == gotoken.CONST {
			for i, spec := range g.Specs {
				names[spec.(*ast.ValueSpec).Names[0].Name] = apierr.Row(i + 1)
			}
		}
	}
	if names["APINotFound"] != apierr.APINotFound || names["CredentialsInvalid"] != apierr.CredentialsInvalid {
		t.Fatal("the constants of apierr are not where they were")
	}
	return names
}

func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Answers that the document has and the other tests do not bring about.
func TestOpenAPISeldomSeen(t *testing.T) {
	t.Parallel()
	s := newService(t)
	access := s.issue(worker).access
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		call := func(change func(*tokenCall)) received {
			c := goodCall(s, "client_credentials")
			c.path, c.form = path, values("client_id", gateway, "client_secret", secret, "token", access)
			change(c)
			return c.send(s)
		}
		checkFailure(t, s, call(func(c *tokenCall) { c.basic(gateway, secret) }), apierr.AuthMethodInvalid, "")
		checkFailure(t, s, call(func(c *tokenCall) { c.pad = 12 << 20 }), apierr.RequestEntityTooLarge, "")
		s.store.fail(errors.New("a store that breaks its contract"))
		c := s.post(path, gateway, values("token", access))
		if path == "/oauth/revoke" {
			c = s.post(path, worker, values("token", access))
		}
		checkFailure(t, s, c, apierr.Internal, "")
		s.store.fail(nil)
	}
	verify := func(query string) received {
		return s.get(s.url+"/oauth/verify"+query, "Authorization", "Bearer "+access)
	}
	forNginx := func(status int, row apierr.Row) {
		t.Helper()
		if a := verify("?gateway=nginx"); a.status != status || a.header.Get("X-Error-Code") != row.Code() {
			t.Errorf("%d %s, want %d %s", a.status, a.body, status, row)
		}
	}
	s.store.fail(errors.New("a store that breaks its contract"))
	checkFailure(t, s, verify(""), apierr.Internal, "")
	forNginx(403, apierr.Internal)
	s.store.fail(nil)
	s.setApp(worker, func(a *app.App) { a.Frozen = true })
	forNginx(403, apierr.AppFrozen)
	if err := s.apps.Replace(s.list[1:]); err != nil {
		t.Fatal(err)
	}
	checkFailure(t, s, verify(""), apierr.AppNotExist, "")
	forNginx(401, apierr.AppNotExist)
}

// The check that every exchange of these tests goes through finds what it should.
func TestOpenAPICheckFinds(t *testing.T) {
	t.Parallel()
	s := newService(t)
	access := s.issue(worker).access
	const good = "grant_type=client_credentials&client_id=" + worker + "&client_secret=" + secret
	type exchange struct {
		*http.Request
		sent string
		received
	}
	exchanges := map[string]func() exchange{
		"token": func() exchange {
			r, _ := http.NewRequest(http.MethodPost, s.url+"/oauth/token", nil)
			return exchange{r, good, s.send("/oauth/token", form, good)}
		},
		"failure": func() exchange {
			r, _ := http.NewRequest(http.MethodPost, s.url+"/oauth/token", nil)
			return exchange{r, "", s.send("/oauth/token", form, "")}
		},
		"verify": func() exchange {
			r, _ := http.NewRequest(http.MethodGet, s.url+"/oauth/verify?scope=orders.read", nil)
			r.Header.Set("Authorization", "Bearer "+access)
			return exchange{r, "", s.do(r)}
		},
		"unavailable": func() exchange {
			s.store.fail(token.ErrUnavailable)
			defer s.store.fail(nil)
			r, _ := http.NewRequest(http.MethodPost, s.url+"/oauth/token", nil)
			return exchange{r, good, s.send("/oauth/token", form, good)}
		},
	}
	body := func(old, new string) func(*exchange) {
		return func(e *exchange) {
			if !bytes.Contains(e.body, []byte(old)) {
				t.Errorf("no %s in %s", old, e.body)
			}
			e.body = bytes.Replace(e.body, []byte(old), []byte(new), 1)
		}
	}
	for _, tt := range []struct {
		name, of string
		mutate   func(*exchange)
		want     string // a part of what is found
	}{
		{"undocumented status", "failure", func(e *exchange) { e.status = 418 }, "status 418"},
		{"status of another failure", "failure", func(e *exchange) { e.status = 403 }, "/error_code"},
		{"code of another endpoint", "failure", body("APIG.2210", "APIG.2203"), "/error_code"},
		{"message of another row", "failure", body("Lack of grant_type", "Lack of client_id"), "no example"},
		{"unknown OAuth name", "failure", body("invalid_request", "invalid"), "/error"},
		{"member missing", "failure", body(`"error_uri"`, `"uri"`), "error_uri"},
		{"member too many", "token", body(`{`, `{"grant":1,`), "grant"},
		{"member of the wrong type", "token", body(`3600`, `"3600"`), "/expires_in"},
		{"token of the wrong shape", "token", body(`"at_`, `"xx_`), "/access_token"},
		{"not JSON", "token", body(`{`, ``), "body"},
		{"content type", "token", func(e *exchange) { e.header.Set("Content-Type", "text/plain") }, "content type"},
		{"header missing", "token", func(e *exchange) { e.header.Del("X-Request-Id") }, "X-Request-Id"},
		{"header twice", "token", func(e *exchange) { e.header.Add("Cache-Control", "no-store") }, "Cache-Control"},
		{"header too many", "token", func(e *exchange) { e.header.Set("Server", "x") }, "Server"},
		{"cacheable", "token", func(e *exchange) { e.header.Set("Cache-Control", "public") }, "Cache-Control"},
		{"no Retry-After", "unavailable", func(e *exchange) { e.header.Del("Retry-After") }, "Retry-After"},
		{"Retry-After that is a date", "unavailable", func(e *exchange) { e.header.Set("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT") }, "Retry-After"},
		{"body where there is none", "verify", func(e *exchange) { e.body = []byte("{}") }, "there is a body"},
		{"body of HEAD", "verify", func(e *exchange) { e.Method, e.body = http.MethodHead, []byte("{}") }, "there is a body"},
		{"success of an unknown path", "token", func(e *exchange) { e.URL.Path = "/oauth/tokens" }, "status 200"},
		{"success of an unknown method", "token", func(e *exchange) { e.Method = http.MethodPut }, "status 200"},

		{"accepted: another grant type", "token", func(e *exchange) { e.sent = strings.Replace(good, "client_credentials", "password", 1) }, "body"},
		{"accepted: too much through_data", "token", func(e *exchange) { e.sent += "&through_data=" + strings.Repeat("x", 301) }, "through_data"},
		{"accepted: nobody", "token", func(e *exchange) { e.sent = "grant_type=client_credentials" }, "authenticates"},
		{"accepted: no bearer", "verify", func(e *exchange) { e.Header.Del("Authorization") }, "authenticates"},
		{"accepted: unknown gateway", "verify", func(e *exchange) { e.URL.RawQuery = "gateway=other" }, "gateway"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := exchanges[tt.of]()
			if err := described(t).check(e.Request, []byte(e.sent), e.received); err != nil {
				t.Fatalf("before it was changed: %v", err)
			}
			tt.mutate(&e)
			if err := described(t).check(e.Request, []byte(e.sent), e.received); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("found %v, want %q", err, tt.want)
			}
		})
	}
}
