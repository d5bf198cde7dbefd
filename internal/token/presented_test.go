package token

import (
	"slices"
	"testing"
	"time"
)

// Who has a signing key of ours can sign any token, for any grant whose id it has. The
// signature proves which token it is; that its grant's app has it is only proved by a
// grant that can have minted it.
func TestWhatIsProvedOfATokenSignedByAThief(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Claims)
		proved string // the app
	}{
		"nothing changed":                {func(*Claims) {}, keyA},
		"later serial":                   {func(c *Claims) { c.Serial += 3 }, keyA}, // the store may have lost it
		"another app's tag":              {func(c *Claims) { c.AppTag = TagOf(keyC) }, ""},
		"outlives its grant":             {func(c *Claims) { c.IssuedAt += 30 * 24 * 3600 * 1000; c.ExpiresAt += 30 * 24 * 3600 }, ""},
		"longer lifetime":                {func(c *Claims) { c.ExpiresAt += 7200 }, keyA},
		"dead serial, another app's tag": {func(c *Claims) { c.AppTag, c.Serial = TagOf(keyC), 0 }, ""},
		"dead serial, outlives":          {func(c *Claims) { c.ExpiresAt, c.Serial = c.ExpiresAt+7200, 0 }, ""},
		"grant that is not there":        {func(c *Claims) { c.Grant[0] ^= 1 }, ""},
	} {
		for _, kind := range []Kind{Access, Refresh} {
			t.Run(name+"/"+string(rune(kind)), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				p := w.issue(keyA)
				tok := map[Kind]string{Access: p.access, Refresh: p.refresh}[kind]
				c := w.claims(tok)
				tt.change(&c)
				tok = minted(&c, w.keys.Ring().Key(c.KeyID))
				want := Presented{JTI: c.JTI(), AppKey: tt.proved}

				var got Presented
				if kind == Access {
					i, err := w.m.Inspect(t.Context(), tok)
					if err != nil {
						t.Fatal(err)
					}
					got = i.Presented
				} else {
					if c.AppTag != TagOf(keyA) {
						want.AppKey = "" // its grant is not read
					}
					_, got, _ = w.m.Refresh(t.Context(), w.as(keyA), tok, "", "")
				}
				if got != want {
					t.Errorf("proved is %+v, want %+v", got, want)
				}
			})
		}
	}
}

// An app whose tag is the same as another's is told apart by the grant, which proves
// whose the token is.
func TestWhatIsProvedOfATokenOfAnAppWithTheSameTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.issue(keyA)
	claims := w.claims(p.refresh)
	_, got, err := w.m.Refresh(t.Context(), w.as(keyB), p.refresh, "", "")
	if want := (Presented{claims.JTI(), keyA}); code(err) != "1003" || got != want {
		t.Errorf("refresh: %+v, %v; want %+v", got, err, want)
	}
	i, err := w.m.Revoke(t.Context(), w.as(keyB), p.refresh)
	if want := (Presented{claims.JTI(), keyA}); code(err) != "1003" || i.Presented != want {
		t.Errorf("revocation: %+v, %v; want %+v", i.Presented, err, want)
	}
}

// A revocation says why there was nothing to revoke; nil is that there was.
func TestWhatARevocationFinds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		make func(*world) string
		want string // the code; "": it was revoked
	}{
		"access token":          {func(w *world) string { return w.issue(keyA).access }, ""},
		"refresh token":         {func(w *world) string { return w.issue(keyA).refresh }, ""},
		"nonsense":              {func(*world) string { return "nonsense" }, "2203"},
		"refresh nonsense":      {func(*world) string { return "rt_nonsense" }, "2202"},
		"expired access token":  {func(w *world) string { p := w.issue(keyA); w.clock.Advance(time.Hour); return p.access }, "1002"},
		"expired refresh token": {func(w *world) string { p := w.issue(keyA); w.clock.Advance(2 * time.Hour); return p.refresh }, ""},
		"dead access token":     {func(w *world) string { p := w.issue(keyA); w.revoke(p.access); return p.access }, "2203"},
		"access token of a grant that is gone": {func(w *world) string {
			p := w.issue(keyA)
			w.revoke(p.refresh)
			return p.access
		}, "2203"},
		"refresh token of a grant that is gone": {func(w *world) string {
			p := w.issue(keyA)
			w.revoke(p.refresh)
			return p.refresh
		}, "2202"},
		"forged with a key of ours": {func(w *world) string {
			c := w.claims(w.issue(keyA).refresh)
			c.IssuedAt += 30 * 24 * 3600 * 1000
			c.ExpiresAt += 30 * 24 * 3600
			return minted(&c, w.keys.Ring().Key(c.KeyID))
		}, "2202"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tok := tt.make(w)
			w.kinds()
			i, err := w.m.Revoke(t.Context(), w.as(keyA), tok)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if i.Reason != nil {
				got = code(i.Reason)
			}
			if revoked := slices.Contains(w.kinds(), EventRevoked); got != tt.want || revoked != (tt.want == "") {
				t.Errorf("found %q, revoked %v; want %q", got, revoked, tt.want)
			}
		})
	}
}

// Not even a token of the last serial there is, which a thief of the key can sign, makes
// what was revoked good again.
func TestARevocationNeverLowersTheLowestSerial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.issue(keyA)
	w.revoke(p.access)
	c := w.claims(p.access)
	c.Serial = ^uint32(0)
	w.revoke(minted(&c, w.keys.Ring().Key(c.KeyID)))
	if got := w.inspect(p.access); got != "2203" {
		t.Errorf("the revoked token is %q, want 2203", got)
	}
}

// revoke revokes a token of keyA.
func (w *world) revoke(tok string) {
	w.t.Helper()
	if _, err := w.m.Revoke(w.t.Context(), w.as(keyA), tok); err != nil {
		w.t.Fatal(err)
	}
}
