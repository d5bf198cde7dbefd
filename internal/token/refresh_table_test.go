package token

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"authsvc/internal/app"
)

// aRefreshCase is a refresh with the refresh token of serial n by the grant's
// own app. The grant is at serial 5, which it reached 10 s ago; it reached serial
// 4 another 10 s earlier. Nothing of it has expired.
func aRefreshCase(n uint32) refreshCase {
	now := epoch.Unix()
	a := anApp(keyA)
	g := &Grant{
		AppKey: keyA, Scope: "orders.read orders.write", ThroughData: "td", IssuedAt: epoch.UnixMilli() - 1_000_000,
		Serial: 5, KeyID: 1, AccessExpires: now - 10 + 3600, RefreshExpires: now - 10 + 7200,
		From: 4, From1: 3, Rotated: epoch.UnixMilli() - 10_000, Rotated1: epoch.UnixMilli() - 20_000,
		LowestValid: 2, KeepUntil: now - 10 + 7200,
	}
	return refreshCase{
		token: Claims{
			Kind: Refresh, KeyID: 1, IssuedAt: g.Rotated - 10_000*(5-int64(n)), ExpiresAt: g.RefreshExpires - 10*(5-int64(n)),
			AppTag: TagOf(keyA), Serial: n, GrantHash: hashOf(g.Scope, g.ThroughData),
		},
		app: &a, grant: g, now: epoch, grace: 60 * time.Second,
		key: fixedKey(9, 9, epoch).key(), ttl: lifetimes{access: 3600 * time.Second, refresh: 7200 * time.Second},
	}
}

// grants gives the grant another scope, with which the token was issued.
func (c *refreshCase) grants(scope string) {
	c.grant.Scope = scope
	c.token.GrantHash = c.grant.hash()
}

// narrowed makes the token one of a refresh that narrowed the scope, and that the grant has
// not seen.
func narrowed(c *refreshCase) { c.token.GrantHash = hashOf("orders.read", c.grant.ThroughData) }

// jumped makes the grant go from serial 2 to 5, and from 1 to 2 before that.
func jumped(c *refreshCase) {
	c.grant.From, c.grant.From1 = 2, 1
	if c.token.Serial == 2 {
		c.token.IssuedAt = c.grant.Rotated1
	}
}

// ago is a time before the case's now, as the grant has it.
func ago(d time.Duration) int64 { return epoch.UnixMilli() - d.Milliseconds() }

func TestRefreshTable(t *testing.T) {
	type change = func(*refreshCase)
	grace := 60 * time.Second
	tests := []struct {
		name    string
		serial  uint32
		change  change
		outcome outcome
		code    string
		hint    string // part of it, where one code stands for several cases
	}{
		// No grant.
		{"no grant", 5, func(c *refreshCase) { c.grant = nil }, refusal, "2202", "unknown"},

		// Another app's grant; nothing is written, whatever the serial is.
		{"another app's", 5, func(c *refreshCase) { c.grant.AppKey = keyB }, refusal, "1003", ""},
		{"another app's, expired", 5, func(c *refreshCase) { c.grant.AppKey = keyB; c.token.ExpiresAt = epoch.Unix() }, refusal, "1003", ""},
		{"another app's, used long ago: no replay", 1, func(c *refreshCase) { c.grant.AppKey = keyB }, refusal, "1003", ""},
		{"another app's, a repeat: not handed out", 4, func(c *refreshCase) { c.grant.AppKey = keyB }, refusal, "1003", ""},
		{"another app's, from a lost rotation", 9, func(c *refreshCase) { c.grant.AppKey = keyB }, refusal, "1003", ""},
		{"another app's, of another generation", 5, func(c *refreshCase) { c.grant.AppKey = keyB; c.grant.Generation = 9 }, refusal, "1003", ""},

		// The app's generation.
		{"generation older", 5, func(c *refreshCase) { c.app.Generation = 1 }, refusal, "2202", "all other tokens of this app"},
		{"generation older, a repeat", 4, func(c *refreshCase) { c.app.Generation = 1 }, refusal, "2202", "all other tokens of this app"},
		{"generation older, a replay: nothing to delete", 1, func(c *refreshCase) { c.app.Generation = 1 }, refusal, "2202", "all other tokens of this app"},
		{"generation older, app just reloaded", 5, func(c *refreshCase) { c.app.Generation = 1; c.appReloaded = true }, refusal, "2202", "all other tokens of this app"},
		{"generation equal", 5, func(c *refreshCase) { c.app.Generation, c.grant.Generation = 7, 7 }, rotation, "", ""},
		{"generation newer", 5, func(c *refreshCase) { c.grant.Generation = 1 }, staleApp, "", ""},
		{"generation newer, expired", 5, func(c *refreshCase) { c.grant.Generation = 1; c.token.ExpiresAt = epoch.Unix() }, staleApp, "", ""},
		{"generation newer, a replay", 1, func(c *refreshCase) { c.grant.Generation = 1 }, staleApp, "", ""},
		{"generation newer, app just reloaded", 5, func(c *refreshCase) { c.grant.Generation = 1; c.appReloaded = true }, rotation, "", ""},

		// What no grant like this can have minted is forged, whatever its serial.
		{"outlives the 30 days", 5, func(c *refreshCase) { c.token.ExpiresAt = c.grant.end() + 1 }, refusal, "2202", "not a refresh token of this service"},
		{"outlives the 30 days, old serial: no replay", 1, func(c *refreshCase) { c.token.ExpiresAt = c.grant.end() + 1 }, refusal, "2202", "not a refresh token of this service"},
		{"outlives the 30 days, from a lost rotation: no heal", 6, func(c *refreshCase) { c.token.ExpiresAt = c.grant.end() + 1 }, refusal, "2202", "not a refresh token of this service"},
		{"ends with the 30 days", 6, func(c *refreshCase) { c.token.ExpiresAt = c.grant.end() }, healing, "", ""},
		{"issued before its grant", 6, func(c *refreshCase) { c.token.IssuedAt = c.grant.IssuedAt - 1 }, refusal, "2202", "not a refresh token of this service"},
		{"issued with its grant", 6, func(c *refreshCase) { c.token.IssuedAt = c.grant.IssuedAt }, healing, "", ""},
		{"serial 0", 0, nil, refusal, "2202", "not a refresh token of this service"},

		// A token that outlives its grant's keep-until was minted with a longer lifetime, and lost.
		{"outlives keep-until", 5, func(c *refreshCase) { c.token.ExpiresAt = c.grant.KeepUntil + 1 }, refusal, "2202", "lost the refresh that issued"},
		{"outlives keep-until, a repeat", 4, func(c *refreshCase) { c.token.ExpiresAt = c.grant.KeepUntil + 1 }, refusal, "2202", "lost the refresh that issued"},
		{"outlives keep-until, old serial: no replay", 1, func(c *refreshCase) { c.token.ExpiresAt = c.grant.KeepUntil + 1 }, refusal, "2202", "lost the refresh that issued"},
		{"ends with keep-until", 5, func(c *refreshCase) { c.token.ExpiresAt = c.grant.KeepUntil }, rotation, "", ""},
		{"outlives the keep-until of a store that lost a rotation", 6, func(c *refreshCase) { c.token.ExpiresAt = c.grant.KeepUntil + 1 }, healing, "", ""},

		{"a serial that no token has", 0, nil, refusal, "2202", "not a refresh token of this service"},

		// n = s, expired: now >= expiry.
		{"a second before its expiry", 5, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() + 1 }, rotation, "", ""},
		{"in the second of its expiry", 5, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},
		{"a second after its expiry", 5, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() - 1 }, refusal, "1001", ""},
		{"expired, and asks for a wider scope", 5, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix(); c.scope = "admin" }, refusal, "1001", ""},
		{"expired, no grant", 5, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix(); c.grant = nil }, refusal, "1001", ""},
		{"expired, from a lost rotation", 6, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},

		// n = s.
		{"the current token", 5, nil, rotation, "", ""},
		{"the current token, after a lost swap", 5, func(c *refreshCase) { c.lostSwap = true }, rotation, "", ""},

		// n = s, of another line.
		{"of the current serial, issued at another time", 5, func(c *refreshCase) { c.token.IssuedAt-- }, refusal, "2202", "lost the refresh that issued"},
		{"of the current serial, issued later", 5, func(c *refreshCase) { c.token.IssuedAt++ }, refusal, "2202", "lost the refresh that issued"},
		{"of the current serial, issued at another time, after a lost swap", 5, func(c *refreshCase) { c.token.IssuedAt--; c.lostSwap = true }, refusal, "2202", "lost the refresh that issued"},

		// Another scope or through_data than the grant's.
		{"narrowed, then lost", 6, narrowed, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, of the grant's serial", 5, narrowed, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, far ahead", 50, narrowed, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, and asks for it again", 6, func(c *refreshCase) { narrowed(c); c.scope = "orders.read" }, healing, "", ""},
		{"narrowed, then lost, of the grant's serial, and asks for it again", 5, func(c *refreshCase) { narrowed(c); c.scope = "orders.read" }, healing, "", ""},
		{"narrowed, then lost, and asks for something else", 6, func(c *refreshCase) { narrowed(c); c.scope = "orders.write" }, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, and asks for more than there is", 6, func(c *refreshCase) { narrowed(c); c.scope = "admin" }, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, and asks for another through_data, too", 6, func(c *refreshCase) { narrowed(c); c.scope = "orders.read"; c.throughData = "x" }, refusal, "2202", "lost the refresh that changed"},
		{"narrowed, then lost, and the app has no more", 6, func(c *refreshCase) { narrowed(c); c.app.Scopes = []string{"orders.read"} }, healing, "", ""},
		{"through_data changed, then lost", 6, func(c *refreshCase) { c.token.GrantHash = hashOf(c.grant.Scope, "x") }, refusal, "2202", "lost the refresh that changed"},
		{"through_data changed, then lost, and asks for it again", 6, func(c *refreshCase) { c.token.GrantHash = hashOf(c.grant.Scope, "x"); c.throughData = "x" }, healing, "", ""},
		{"of another line without scope and through_data, and asks for more than there is", 6, func(c *refreshCase) {
			c.grant.Scope, c.token.GrantHash, c.scope = "", hashOf("", ""), "admin"
		}, refusal, "2202", "lost the refresh that changed"},
		{"narrowed since: a repeat", 4, narrowed, repeat, "", ""},
		{"narrowed since: a replay", 2, narrowed, replay, "2202", "too long ago"},
		{"narrowed, then lost, expired", 6, func(c *refreshCase) { narrowed(c); c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},

		// n = s-1, within the grace of its rotation.
		{"repeat", 4, nil, repeat, "", ""},
		{"repeat, after a lost swap", 4, func(c *refreshCase) { c.lostSwap = true }, repeat, "", ""},
		{"repeat, in the millisecond of the rotation", 4, func(c *refreshCase) { c.grant.Rotated = ago(0) }, repeat, "", ""},
		{"repeat, by a clock behind the rotation", 4, func(c *refreshCase) { c.grant.Rotated = ago(-time.Second) }, repeat, "", ""},
		{"repeat, a millisecond before the grace ends", 4, func(c *refreshCase) { c.grant.Rotated = ago(grace - time.Millisecond) }, repeat, "", ""},
		{"repeat, exactly at the grace", 4, func(c *refreshCase) { c.grant.Rotated = ago(grace) }, replay, "2202", "too long ago"},
		{"repeat, exactly at the grace, after a lost swap", 4, func(c *refreshCase) { c.grant.Rotated = ago(grace); c.lostSwap = true }, refusal, "2202", "nothing was revoked"},
		{"repeat, expired since: its reply was lost", 4, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() - 5 }, repeat, "", ""},
		{"repeat, scope default", 4, func(c *refreshCase) { c.scope = "default" }, repeat, "", ""},
		{"repeat, the same scope", 4, func(c *refreshCase) { c.scope = "orders.read orders.write" }, repeat, "", ""},
		{"repeat, the same scope in another order", 4, func(c *refreshCase) { c.scope = "orders.write  orders.read" }, repeat, "", ""},
		{"repeat, narrower", 4, func(c *refreshCase) { c.scope = "orders.read" }, refusal, "2205", "a different scope"},
		{"repeat, wider", 4, func(c *refreshCase) { c.scope = "orders.read orders.write admin" }, refusal, "2205", "a different scope"},
		{"repeat, empty scope", 4, func(c *refreshCase) { c.scope = " " }, refusal, "2205", "a different scope"},
		{"repeat, what it was given is still had", 4, func(c *refreshCase) { c.app.Scopes = nil }, repeat, "", ""},
		{"repeat, the same through_data", 4, func(c *refreshCase) { c.throughData = "td" }, repeat, "", ""},
		{"repeat, another through_data", 4, func(c *refreshCase) { c.throughData = "other" }, refusal, "2205", "a different through_data"},
		{"repeat, another scope, expired", 4, func(c *refreshCase) { c.scope = "orders.read"; c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},

		// A repeat is never a dead pair.
		{"repeat, a second before its access token expires", 4, func(c *refreshCase) { c.grant.AccessExpires = epoch.Unix() + 1 }, repeat, "", ""},
		{"repeat, its access token has expired", 4, func(c *refreshCase) { c.grant.AccessExpires = epoch.Unix() }, renewal, "", ""},
		{"repeat, its access token has expired, and so has the token", 4, func(c *refreshCase) { c.grant.AccessExpires = epoch.Unix(); c.token.ExpiresAt = epoch.Unix() }, renewal, "", ""},
		{"repeat, its access token has expired, another scope", 4, func(c *refreshCase) { c.grant.AccessExpires = epoch.Unix(); c.scope = "orders.read" }, refusal, "2205", "a different scope"},
		{"repeat, its access token was revoked", 4, func(c *refreshCase) { c.grant.LowestValid = 6 }, refusal, "2202", "was revoked"},
		{"repeat, its access token was revoked, and has expired", 4, func(c *refreshCase) { c.grant.LowestValid = 6; c.grant.AccessExpires = epoch.Unix() }, refusal, "2202", "was revoked"},
		{"repeat, an older access token was revoked", 4, func(c *refreshCase) { c.grant.LowestValid = 5 }, repeat, "", ""},
		{"repeat, its refresh token has expired", 4, func(c *refreshCase) { c.grant.RefreshExpires = epoch.Unix() }, refusal, "1001", ""},
		{"repeat, both have expired", 4, func(c *refreshCase) { c.grant.AccessExpires, c.grant.RefreshExpires = epoch.Unix(), epoch.Unix() }, refusal, "1001", ""},

		// n = from, and from is not s-1: a revoked serial was jumped over.
		{"repeat, over a revoked serial", 2, jumped, repeat, "", ""},
		{"repeat, over a revoked serial, exactly at the grace", 2, func(c *refreshCase) { jumped(c); c.grant.Rotated = ago(grace) }, replay, "2202", "too long ago"},
		{"repeat, over a revoked serial, after a lost swap", 2, func(c *refreshCase) { jumped(c); c.lostSwap = true }, repeat, "", ""},
		{"two back, over a revoked serial", 1, jumped, refusal, "2202", "nothing was revoked"},
		{"two back, over a revoked serial, exactly at the grace", 1, func(c *refreshCase) { jumped(c); c.grant.Rotated1 = ago(grace) }, replay, "2202", "too long ago"},

		// Another line: from < n < s, from1 < n < from, jumped over, or issued at another time.
		{"between the grant's serial and the one before", 4, jumped, refusal, "2202", "lost the refresh that issued"},
		{"between, next to the one before", 3, jumped, refusal, "2202", "lost the refresh that issued"},
		{"between, after a lost swap", 3, func(c *refreshCase) { jumped(c); c.lostSwap = true }, refusal, "2202", "lost the refresh that issued"},
		{"between, however late", 3, func(c *refreshCase) { jumped(c); c.grant.Rotated, c.grant.Rotated1 = ago(2*grace), ago(3*grace) }, refusal, "2202", "lost the refresh that issued"},
		{"between the one before and the one before that", 3, func(c *refreshCase) { c.grant.From1 = 2 }, refusal, "2202", "lost the refresh that issued"},
		{"one back, issued at another time", 4, func(c *refreshCase) { c.token.IssuedAt++ }, refusal, "2202", "lost the refresh that issued"},
		{"one back, issued at another time, past the grace", 4, func(c *refreshCase) { c.token.IssuedAt--; c.grant.Rotated = ago(grace) }, refusal, "2202", "lost the refresh that issued"},
		{"jumped over by a heal", 2, func(c *refreshCase) { c.grant.JumpedLow, c.grant.JumpedHigh = 2, 3 }, refusal, "2202", "lost the refresh that issued"},
		{"before what a heal jumped over", 1, func(c *refreshCase) { c.grant.JumpedLow, c.grant.JumpedHigh = 2, 3 }, replay, "2202", "too long ago"},
		{"after what a heal jumped over", 2, func(c *refreshCase) { c.grant.JumpedLow, c.grant.JumpedHigh = 1, 2 }, replay, "2202", "too long ago"},

		// n = s-2 within the grace of its rotation; or this very request once read n = s.
		{"two back", 3, nil, refusal, "2202", "nothing was revoked"},
		{"two back, a millisecond before its grace ends", 3, func(c *refreshCase) { c.grant.Rotated1 = ago(grace - time.Millisecond) }, refusal, "2202", "nothing was revoked"},
		{"two back, exactly at the grace", 3, func(c *refreshCase) { c.grant.Rotated1 = ago(grace) }, replay, "2202", "too long ago"},
		{"two back, exactly at the grace, after a lost swap", 3, func(c *refreshCase) { c.grant.Rotated1 = ago(grace); c.lostSwap = true }, refusal, "2202", "nothing was revoked"},
		{"two back, expired", 3, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},
		{"far back, after a lost swap", 1, func(c *refreshCase) { c.lostSwap = true }, refusal, "2202", "nothing was revoked"},

		// n < s: replay.
		{"three back, however fast", 2, nil, replay, "2202", "too long ago"},
		{"the first one", 1, nil, replay, "2202", "too long ago"},
		{"replay with a wider scope is a replay", 2, func(c *refreshCase) { c.scope = "admin" }, replay, "2202", "too long ago"},
		{"replay, expired: changes nothing", 2, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() }, refusal, "1001", ""},

		// n > s: the store lost a rotation.
		{"one ahead", 6, nil, healing, "", ""},
		{"far ahead", 50, nil, healing, "", ""},
		{"ahead, wider scope", 6, func(c *refreshCase) { c.scope = "admin" }, refusal, "2205", "does not have"},
		{"the last serial there is", ^uint32(0), nil, refusal, "2202", "not a refresh token of this service"},

		// Scope.
		{"scope default", 5, func(c *refreshCase) { c.scope = "default" }, rotation, "", ""},
		{"scope a subset", 5, func(c *refreshCase) { c.scope = "orders.write" }, rotation, "", ""},
		{"scope wider than the grant's", 5, func(c *refreshCase) { c.grants("orders.read"); c.scope = "orders.read orders.write" }, refusal, "2205", "does not have"},
		{"scope that nobody has", 5, func(c *refreshCase) { c.scope = "admin" }, refusal, "2205", "does not have"},
		{"scope default and another", 5, func(c *refreshCase) { c.scope = "default orders.read" }, refusal, "2205", "does not have"},
		{"scope in capitals", 5, func(c *refreshCase) { c.scope = "Orders.read" }, refusal, "2205", "does not have"},
		{"scope empty", 5, func(c *refreshCase) { c.scope = "   " }, refusal, "2205", "names no scope"},
		{"scope with a tab", 5, func(c *refreshCase) { c.scope = "orders.read\torders.write" }, refusal, "2205", "has a tab or a line break"},
		{"scope of 4096 bytes", 5, func(c *refreshCase) { c.scope = "orders.read" + strings.Repeat(" ", 4096-11) }, rotation, "", ""},
		{"scope of 4097 bytes", 5, func(c *refreshCase) { c.scope = "orders.read" + strings.Repeat(" ", 4097-11) }, refusal, "2205", "longer than 4096"},
		{"scope that the app has lost", 5, func(c *refreshCase) { c.app.Scopes = []string{"orders.read"}; c.scope = "orders.write" }, refusal, "2205", "does not have"},
		{"the app has lost all its scopes", 5, func(c *refreshCase) { c.app.Scopes = []string{"new"} }, refusal, "2205", "no longer has any"},
		{"a grant without scopes", 5, func(c *refreshCase) { c.grants("") }, rotation, "", ""},
		{"a grant without scopes gets none", 5, func(c *refreshCase) { c.grants(""); c.scope = "orders.read" }, refusal, "2205", "does not have"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := aRefreshCase(tt.serial)
			if tt.change != nil {
				tt.change(&c)
			}
			var before Grant
			if c.grant != nil {
				before = *c.grant
			}
			d := decideRefresh(c)
			if d.outcome != tt.outcome || code(d.err) != tt.code {
				t.Errorf("outcome %d, code %q; want %d, %q", d.outcome, code(d.err), tt.outcome, tt.code)
			}
			if !strings.Contains(hint(d.err), tt.hint) {
				t.Errorf("hint %q has no %q", hint(d.err), tt.hint)
			}
			if (d.outcome == refusal || d.outcome == replay) != (d.err != nil) {
				t.Errorf("outcome %d with error %v", d.outcome, d.err)
			}
			goesOn := d.outcome == rotation || d.outcome == healing
			if !goesOn && d.outcome != renewal && d.next != (Grant{}) {
				t.Errorf("outcome %d with a next grant", d.outcome)
			}
			if c.grant != nil && *c.grant != before {
				t.Error("the decision changed the grant it was shown")
			}
			if goesOn && d.next.Serial != tt.serial+1 {
				t.Errorf("serial %d, want %d", d.next.Serial, tt.serial+1)
			}
		})
	}
}

// The table of the page and that of the code have the same rows in the same order.
func TestThePageHasTheRefreshTable(t *testing.T) {
	rows := func(path, from, to, row string) (got []string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, part, _ := strings.Cut(string(text), from)
		part, _, _ = strings.Cut(part, to)
		for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(part, -1) {
			got = append(got, strings.ToLower(m[1]))
		}
		return got
	}
	code := rows("decide.go", "func decideLiveRefresh", "\n}\n", `(?m)^\t(?:case|default).*: // (.*)$`)
	page := rows("../../docs/explanation.md", "the first case that matches decides:", "\nA token that", `(?m)^- \*\*(.*)\*\*`)
	if diff := cmp.Diff(code, page); diff != "" || len(code) < 12 {
		t.Errorf("%d rows (-code +page):\n%s", len(code), diff)
	}
}

// rotated returns the grant before and after a refresh that goes on.
func rotated(t *testing.T, n uint32, change func(*refreshCase)) (before, after Grant) {
	t.Helper()
	c := aRefreshCase(n)
	if change != nil {
		change(&c)
	}
	d := decideRefresh(c)
	if d.outcome != rotation && d.outcome != healing {
		t.Fatalf("outcome %d, %v; want a rotation", d.outcome, d.err)
	}
	return *c.grant, d.next
}

func TestARotationChangesThisAndNothingElse(t *testing.T) {
	before, after := rotated(t, 5, nil)
	want := before
	want.Serial = 6
	want.KeyID = 9
	want.AccessExpires = epoch.Unix() + 3600
	want.RefreshExpires = epoch.Unix() + 7200
	want.KeepUntil = epoch.Unix() + 7200
	want.Rotated = epoch.UnixMilli()
	want.Rotated1 = before.Rotated
	want.From, want.From1 = 5, 4
	if d := cmp.Diff(want, after); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAHealedGrantGoesOnFromTheToken(t *testing.T) {
	before, after := rotated(t, 9, func(c *refreshCase) { c.token.ExpiresAt = epoch.Unix() + 9000 })
	want := before
	want.Serial = 10
	want.KeyID = 9
	want.AccessExpires = epoch.Unix() + 3600
	want.RefreshExpires = epoch.Unix() + 7200
	want.KeepUntil = epoch.Unix() + 9000 // the token itself proves that it was minted
	want.Rotated = epoch.UnixMilli()
	want.From, want.From1 = 9, 5
	want.Rotated1 = epoch.UnixMilli() + 30_000 // when the token was issued, so that its retry is a repeat
	want.JumpedLow, want.JumpedHigh = 5, 9
	if d := cmp.Diff(want, after); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWhatALineGoesOnWithout(t *testing.T) {
	for _, tt := range []struct {
		name              string
		serial            uint32
		change            func(*refreshCase)
		next, from, from1 uint32
		low, high         uint32
		lowest            uint32
	}{
		{"a rotation", 5, nil, 6, 5, 4, 0, 0, 2},
		{"a rotation over a revoked serial", 5, func(c *refreshCase) { c.grant.LowestValid = 7 }, 7, 5, 4, 6, 7, 7},
		{"a rotation right at a revoked serial", 5, func(c *refreshCase) { c.grant.LowestValid = 6 }, 6, 5, 4, 0, 0, 6},
		{"a rotation that narrows, over a revoked serial", 5, func(c *refreshCase) { c.grant.LowestValid = 7; c.scope = "orders.read" }, 7, 5, 4, 6, 7, 7},
		{"a heal by one", 6, nil, 7, 6, 5, 5, 6, 2},
		{"a heal by more", 9, nil, 10, 9, 5, 5, 9, 2},
		{"a heal over a revoked serial", 9, func(c *refreshCase) { c.grant.LowestValid = 12 }, 12, 9, 5, 5, 12, 12},
		{"a heal below a revoked serial", 9, func(c *refreshCase) { c.grant.LowestValid = 8 }, 10, 9, 5, 5, 9, 8},
		{"a heal of the grant's serial", 5, func(c *refreshCase) { narrowed(c); c.scope = "orders.read" }, 6, 5, 4, 5, 6, 6},
		{"a second heal", 9, func(c *refreshCase) { c.grant.JumpedLow, c.grant.JumpedHigh = 2, 3 }, 10, 9, 5, 2, 9, 2},
		{"a rotation after a heal", 5, func(c *refreshCase) { c.grant.JumpedLow, c.grant.JumpedHigh = 2, 4 }, 6, 5, 4, 2, 4, 2},
	} {
		before, g := rotated(t, tt.serial, tt.change)
		got := [...]uint32{g.Serial, g.From, g.From1, g.JumpedLow, g.JumpedHigh, g.LowestValid}
		if want := [...]uint32{tt.next, tt.from, tt.from1, tt.low, tt.high, tt.lowest}; got != want {
			t.Errorf("%s: serial, from, from1, jumped, lowest are %v, want %v", tt.name, got, want)
		}
		if g.LowestValid < before.LowestValid {
			t.Errorf("%s: the lowest serial went down", tt.name)
		}
		if again, err := decodeGrant(GrantID{}, recordOf(&g, GrantID{})); err != nil || again != g {
			t.Errorf("%s: it is read as %+v, %v", tt.name, again, err)
		}
	}
}

func TestARenewalChangesTheAccessTokenAndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*refreshCase)
		lives  int64 // the new access token, from now
		keeps  int64 // the grant, from now; 0: as before
	}{
		{"by the lifetime of now", func(*refreshCase) {}, 3600, 0},
		{"longer than anything before", func(c *refreshCase) { c.ttl.access = 10_000 * time.Second }, 10_000, 10_000},
		{"no longer than its refresh could say", func(c *refreshCase) {
			c.grant.Rotated -= 70_000 * 1000
			c.grant.IssuedAt -= 70_000 * 1000
			c.grace = 80_000 * time.Second
		}, 72_000 - 70_010, 0},
		{"no longer than the grant", func(c *refreshCase) {
			c.grant.IssuedAt = (epoch.Unix() + 100 - 30*24*3600) * 1000
			c.token.ExpiresAt, c.grant.RefreshExpires, c.grant.KeepUntil = c.grant.end(), c.grant.end(), c.grant.end()
		}, 100, 0},
	} {
		c := aRefreshCase(4)
		c.grant.AccessExpires = epoch.Unix() - 1
		tt.change(&c)
		d := decideRefresh(c)
		if d.outcome != renewal {
			t.Fatalf("%s: outcome %d, %v", tt.name, d.outcome, d.err)
		}
		want := *c.grant
		want.AccessExpires = epoch.Unix() + tt.lives
		if tt.keeps != 0 {
			want.KeepUntil = epoch.Unix() + tt.keeps
		}
		if diff := cmp.Diff(want, d.next); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestScopeAndThroughDataAfterARotation(t *testing.T) {
	tests := []struct {
		name      string
		change    func(*refreshCase)
		scope, td string
		olderDie  bool // the access tokens before this rotation
	}{
		{"nothing given", func(*refreshCase) {}, "orders.read orders.write", "td", false},
		{"default", func(c *refreshCase) { c.scope = "default" }, "orders.read orders.write", "td", false},
		{"the same scope", func(c *refreshCase) { c.scope = "orders.read orders.write" }, "orders.read orders.write", "td", false},
		{"the same scope in another order", func(c *refreshCase) { c.scope = "orders.write orders.read" }, "orders.read orders.write", "td", false},
		{"the same scope with names twice", func(c *refreshCase) { c.scope = " orders.write orders.read orders.write " }, "orders.read orders.write", "td", false},
		{"a subset", func(c *refreshCase) { c.scope = "orders.write" }, "orders.write", "td", true},
		{"absent: narrowed is narrowed for good", func(c *refreshCase) { c.grants("orders.read") }, "orders.read", "td", false},
		{"default: narrowed is narrowed for good", func(c *refreshCase) { c.grants("orders.read"); c.scope = "default" }, "orders.read", "td", false},
		{"the app has more now", func(c *refreshCase) { c.app.Scopes = append(c.app.Scopes, "admin") }, "orders.read orders.write", "td", false},
		{"the app has them in another order now", func(c *refreshCase) { c.app.Scopes = []string{"orders.write", "orders.read"} }, "orders.read orders.write", "td", false},
		{"cut to what the app has", func(c *refreshCase) { c.app.Scopes = []string{"orders.write"} }, "orders.write", "td", true},
		{"default, cut to what the app has", func(c *refreshCase) { c.app.Scopes = []string{"orders.write"}; c.scope = "default" }, "orders.write", "td", true},
		{"no scopes at all", func(c *refreshCase) { c.app.Scopes = nil; c.grants("") }, "", "td", false},
		{"through_data replaced", func(c *refreshCase) { c.throughData = "new" }, "orders.read orders.write", "new", true},
		{"through_data the same", func(c *refreshCase) { c.throughData = "td" }, "orders.read orders.write", "td", false},
		{"through_data given for the first time", func(c *refreshCase) {
			c.grant.ThroughData, c.throughData = "", "td"
			c.token.GrantHash = c.grant.hash()
		}, "orders.read orders.write", "td", true},
		{"both", func(c *refreshCase) { c.scope = "orders.read"; c.throughData = "new" }, "orders.read", "new", true},
	}
	for _, serial := range []uint32{5, 9} { // a healing rotation is one like any other
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				before, after := rotated(t, serial, tt.change)
				if after.Scope != tt.scope || after.ThroughData != tt.td {
					t.Errorf("scope %q, through_data %q; want %q, %q", after.Scope, after.ThroughData, tt.scope, tt.td)
				}
				want := before.LowestValid
				if tt.olderDie {
					want = serial + 1
				}
				if after.LowestValid != want {
					t.Errorf("lowest valid serial %d, want %d", after.LowestValid, want)
				}
			})
		}
	}
}

func TestNoTokenOutlivesItsGrant(t *testing.T) {
	end := epoch.Unix() - 1000 + 30*24*3600 // of the grant of aRefreshCase
	tests := []struct {
		name            string
		left            time.Duration // of the grant
		access, refresh int64
	}{
		{"long before the end", 100 * time.Hour, end - 360000 + 3600, end - 360000 + 7200},
		{"both fit exactly", 7200 * time.Second, end - 3600, end},
		{"the refresh token is cut", 7199 * time.Second, end - 3599, end},
		{"the access token fits exactly", 3600 * time.Second, end, end},
		{"both are cut", time.Second, end, end},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, after := rotated(t, 5, func(c *refreshCase) {
				c.now = time.Unix(end, 0).Add(-tt.left)
				c.token.ExpiresAt, c.grant.KeepUntil = end, end
			})
			if after.AccessExpires != tt.access || after.RefreshExpires != tt.refresh {
				t.Errorf("they end %d and %d s before the grant, want %d and %d",
					end-after.AccessExpires, end-after.RefreshExpires, end-tt.access, end-tt.refresh)
			}
			if after.KeepUntil != end {
				t.Errorf("keep-until %d, want %d", after.KeepUntil, end)
			}
		})
	}
	// When the grant is over there is no token left to refresh it with.
	c := aRefreshCase(5)
	c.now, c.token.ExpiresAt, c.grant.KeepUntil = time.Unix(end, 0), end, end
	if d := decideRefresh(c); d.outcome != refusal || code(d.err) != "1001" {
		t.Errorf("at the end of the grant: outcome %d, %v", d.outcome, d.err)
	}
}

func TestKeepUntilNeverFalls(t *testing.T) {
	late := epoch.Unix() + 70000
	for _, tt := range []struct {
		name   string
		change func(*refreshCase)
		want   int64
	}{
		{"it was later: an older access token lives longer", func(c *refreshCase) { c.grant.KeepUntil = late }, late},
		{"shorter lifetimes now", func(c *refreshCase) {
			c.grant.KeepUntil = late
			c.ttl = lifetimes{time.Second, time.Second}
		}, late},
		{"the access token is the longer one", func(c *refreshCase) { c.ttl.access = 72000 * time.Second }, epoch.Unix() + 72000},
		{"the refresh token is the longer one", func(c *refreshCase) { c.ttl.refresh = 72000 * time.Second }, epoch.Unix() + 72000},
	} {
		if _, after := rotated(t, 5, tt.change); after.KeepUntil != tt.want {
			t.Errorf("%s: keep-until %d, want %d", tt.name, after.KeepUntil, tt.want)
		}
	}
}

// A store's clock can step back, in a failover to a server that is behind. What is
// decided then must still be a record that can be read.
func TestARotationByAClockThatIsBehindCanBeRead(t *testing.T) {
	for _, back := range []time.Duration{time.Second, time.Hour, 3 * time.Hour, 100 * time.Hour} {
		_, after := rotated(t, 5, func(c *refreshCase) { c.now = epoch.Add(-back) })
		got, err := decodeGrant(GrantID{}, recordOf(&after, GrantID{}))
		if err != nil || got != after {
			t.Errorf("%v behind: %+v, %v; want %+v", back, got, err, after)
		}
		access, refresh := after.claims(GrantID{})
		for _, c := range []Claims{access, refresh} {
			if again, err := parse(t.Context(), minted(&c, fixedKey(9, 9, epoch).key()), c.Kind, only{ringOf(fixedKey(9, 9, epoch))}); err != nil || again != c {
				t.Errorf("%v behind: %+v, %v; want %+v", back, again, err, c)
			}
		}
	}
}

func TestAccessTable(t *testing.T) {
	type change = func(*accessCase)
	none := func(*accessCase) {}
	tests := []struct {
		name   string
		change change
		code   string
	}{
		{"good", none, ""},
		{"good, older serial", func(c *accessCase) { c.token.Serial = 3 }, ""},
		{"serial above the grant's: the store lost a rotation", func(c *accessCase) { c.token.Serial = 50 }, ""},
		{"above the grant's, and outlives its keep-until", func(c *accessCase) { c.token.Serial = 6; c.token.ExpiresAt = c.grant.KeepUntil + 1 }, ""},
		{"generation newer: our copy of the app is old", func(c *accessCase) { c.grant.Generation = 1 }, ""},
		{"ends with keep-until", func(c *accessCase) { c.token.ExpiresAt = c.grant.KeepUntil }, ""},

		{"grant gone", func(c *accessCase) { c.grant = nil }, "2203"},
		{"issued with another scope", func(c *accessCase) { c.token.GrantHash = hashOf("orders.read", "td") }, "2203"},
		{"issued with another through_data", func(c *accessCase) { c.token.GrantHash = hashOf(c.grant.Scope, "x") }, "2203"},
		{"issued with another scope, from a lost rotation", func(c *accessCase) { c.token.Serial = 6; c.token.GrantHash = hashOf("orders.read", "td") }, "2203"},
		{"outlives the 30 days, from a lost rotation", func(c *accessCase) { c.token.Serial = 6; c.token.ExpiresAt = c.grant.end() + 1 }, "2203"},
		{"issued before its grant, from a lost rotation", func(c *accessCase) { c.token.Serial = 6; c.token.IssuedAt = c.grant.IssuedAt - 1 }, "2203"},
		{"serial below the lowest", func(c *accessCase) { c.token.Serial = 2 }, "2203"},
		{"serial below the lowest, above the grant's", func(c *accessCase) { c.token.Serial = 7; c.grant.LowestValid = 8 }, "2203"},
		{"another app's tag", func(c *accessCase) { c.token.AppTag = TagOf(keyC) }, "2203"},
		{"outlives keep-until", func(c *accessCase) { c.token.ExpiresAt = c.grant.KeepUntil + 1 }, "2203"},
		{"app gone", func(c *accessCase) { c.app = nil }, "1004"},
		{"app frozen", func(c *accessCase) { c.app.Frozen = true }, "0502"},
		{"generation older", func(c *accessCase) { c.app.Generation = 1 }, "2203"},

		// The order: grant gone, serial too low, forged; app gone; frozen; generation.
		{"grant gone before app gone", func(c *accessCase) { c.grant, c.app = nil, nil }, "2203"},
		{"serial before app gone", func(c *accessCase) { c.token.Serial, c.app = 1, nil }, "2203"},
		{"serial before frozen", func(c *accessCase) { c.token.Serial, c.app.Frozen = 1, true }, "2203"},
		{"forged before app gone", func(c *accessCase) { c.token.AppTag, c.app = TagOf(keyC), nil }, "2203"},
		{"forged before frozen", func(c *accessCase) { c.token.ExpiresAt, c.app.Frozen = c.grant.KeepUntil+1, true }, "2203"},
		{"frozen before generation", func(c *accessCase) { c.app.Frozen, c.app.Generation = true, 1 }, "0502"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := anApp(keyA)
			g := aRefreshCase(5).grant
			g.LowestValid = 3
			c := accessCase{
				token: Claims{Kind: Access, IssuedAt: g.Rotated, ExpiresAt: g.AccessExpires, AppTag: TagOf(keyA), Serial: 5, GrantHash: g.hash()},
				grant: g, app: &a,
			}
			tt.change(&c)
			var err error
			if e := decideAccess(c); e != nil {
				err = e
			}
			if code(err) != tt.code {
				t.Errorf("code %q, want %q", code(err), tt.code)
			}
		})
	}
}

func TestEveryAnswerIsMadeAnew(t *testing.T) {
	c := aRefreshCase(1)
	first, second := decideRefresh(c).err, decideRefresh(c).err
	if first == second {
		t.Error("two refusals are one value, so who changes one changes the other")
	}
	a := app.App{Frozen: true}
	ac := accessCase{token: Claims{AppTag: TagOf(keyA), Serial: 1}, grant: &Grant{AppKey: keyA, Serial: 1}, app: &a}
	if v1, v2 := decideAccess(ac), decideAccess(ac); v1 == v2 {
		t.Error("two verdicts are one value, so who changes one changes the other")
	}
}
