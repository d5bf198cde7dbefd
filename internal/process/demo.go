package process

import (
	_ "embed"
	"io"
	"text/template"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/keyring"
)

// demo holds the apps that --dev creates.
type demo struct {
	App, AppSecret         string
	Gateway, GatewaySecret string
	URL                    string
}

// newDemo returns what a service with --dev has instead of files: a new keyring, and an
// app and a gateway with new secrets.
func newDemo() (files, *demo, error) {
	d := &demo{App: "demo-app", AppSecret: app.GenerateSecret(), Gateway: "demo-gateway", GatewaySecret: app.GenerateSecret()}
	ring := keyring.New(time.Now())
	pepper := ring.Pepper()
	apps, err := app.NewRegistry(pepper, []app.App{
		{Key: d.App, Name: "Demo app", Secrets: []app.Secret{{Hash: pepper.Hash(d.AppSecret)}}, Scopes: []string{"orders.read", "orders.write"}},
		{Key: d.Gateway, Name: "Demo gateway", Secrets: []app.Secret{{Hash: pepper.Hash(d.GatewaySecret)}}, Roles: []string{app.RoleIntrospect}},
	})
	if err != nil {
		return files{}, nil, err
	}
	return files{keys: keyring.NewCurrent(ring, nil), apps: apps}, d, nil
}

//go:embed demo.txt
var demoText string

var demoTemplate = template.Must(template.New("demo").Parse(demoText))

// print writes the banner and the curl lines.
func (d demo) print(w io.Writer, url string) {
	d.URL = url
	_ = demoTemplate.Execute(w, d) // to a terminal, which may be gone
}
