package appsfile

import (
	"encoding/base64"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"authsvc/internal/app"
)

// A release reads what the ones before it wrote. The pepper is that of keys.json there.
func TestAppsOf010(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString("V87nMiWnP2pWnU/3rfJr+aFn6EJOMB9aPWGHkZaZ8EI=")
	if err != nil {
		t.Fatal(err)
	}
	pepper := app.Pepper(b)
	f, err := Read("../../../testdata/0.1.0/apps.yaml", pepper, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := func(text string) []app.Secret { return []app.Secret{{Hash: pepper.Hash(text)}} }
	want := []app.App{
		{Key: "orders-web-001", Name: "Orders", Secrets: secret("orders-Secret-0001"), Scopes: []string{"orders.read", "orders.write"}},
		{
			Key: "tenant-app-072704", Name: "租户", Secrets: secret("orders-Secret-0002"), Scopes: []string{"orders.read"},
			Roles: []string{app.RoleIntrospect}, AccessTTL: 90 * time.Second, RefreshTTL: 20 * time.Hour, Frozen: true,
			TrustedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}, Generation: 3,
		},
		{Key: "plain_app-03", Secrets: secret("plain-Secret!0003")},
		{Key: "from-a-file-04", Secrets: secret("in-a-File-0004")},
	}
	if d := cmp.Diff(want, f.Apps, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
