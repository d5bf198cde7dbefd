package faults

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"authsvc/internal/authsvctest"
	"authsvc/internal/redistest"
)

// One bit after another of the records in Redis is wrong: no verdict about a token changes,
// nothing is deleted, and the grant is as before once the bit is right again. So it is for
// a record that stands under another grant's key.
func TestDamagedRecords(t *testing.T) {
	sideBySide(t)
	everywhere(t, func(t *testing.T, p place) { damage(t, authsvctest.Binary(t), p).none(t) })
	control(t, "the checksum of a record is not looked at", func(t *testing.T) {
		damage(t, authsvctest.BuildPatched(t, authsvctest.ChecksumIsIgnored), places["single"](t)).some(t, "damaged: ")
	})
}

// damaged is a grant whose record is damaged.
type damaged struct {
	key          string
	record       string
	server       *redistest.Server
	before, held authsvctest.Pair // held came for before's refresh token, if there was one
	revoked      bool             // held's access token
}

func damage(t *testing.T, binary string, p place) *findings {
	t.Helper()
	const flips = 400
	f := &findings{}
	s := authsvctest.NewSite(t).StartBinary(binary, p.url, append([]string{"--refresh-grace", "10m"}, authsvctest.Patient...)...)
	s.WaitReady()
	var grants []damaged
	for n := range 5 { // in different states
		was := p.dump()
		d := damaged{held: s.Issue(authsvctest.Worker, "through_data", fmt.Sprintf(`{"n":%d}`, n)).Pair()}
		d.key = newKey(was, p.dump())
		d.server, _ = p.of(d.key)
		for range n {
			d.before, d.held = d.held, s.Refresh(authsvctest.Worker, d.held.Refresh).Pair()
		}
		if n == 3 {
			authsvctest.Want(t, "revoke", s.Revoke(authsvctest.Worker, d.held.Access), 200, "")
			d.revoked = true
		}
		d.record = d.read(t)
		grants = append(grants, d)
	}
	for n := range flips {
		d := grants[n%len(grants)]
		bad := []byte(d.record)
		bit := n / len(grants) * 7 % (8 * len(bad)) // spread over the record
		bad[bit/8] ^= 1 << (bit % 8)
		d.tried(t, f, s, fmt.Sprintf("grant %d, bit %d", n%len(grants), bit), string(bad))
	}
	for n, d := range grants {
		other := grants[(n+1)%len(grants)]
		d.tried(t, f, s, fmt.Sprintf("grant %d, with the record of another", n), other.record)
		d.tried(t, f, s, fmt.Sprintf("grant %d, cut off", n), d.record[:len(d.record)-1])
		d.tried(t, f, s, fmt.Sprintf("grant %d, empty", n), "")
	}
	// None of them has lost its way.
	for n, d := range grants {
		f.want(fmt.Sprintf("at last, refresh of grant %d", n), s.Refresh(authsvctest.Worker, d.held.Refresh), 200, "")
	}
	if n := s.Stderr.Count("refresh_replayed"); n > 0 {
		f.add("damaged: %d refreshes were taken for replays", n)
	}
	figure(t, "%d flipped bits in %d records: %d findings", flips, len(grants), len(f.all))
	return f
}

func (d damaged) read(t *testing.T) string {
	t.Helper()
	record, err := d.server.Client().Get(context.Background(), d.key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func (d damaged) write(t *testing.T, record string) {
	t.Helper()
	if err := d.server.Client().Do(context.Background(), "SET", d.key, record, "KEEPTTL").Err(); err != nil {
		t.Fatal(err)
	}
}

// tried presents the tokens of a grant while its record is another, and once it is right
// again.
func (d damaged) tried(t *testing.T, f *findings, s *authsvctest.Server, what, record string) {
	t.Helper()
	d.write(t, record)
	for did, a := range map[string]authsvctest.Answer{
		"introspect": s.Introspect(d.held.Access),
		"verify":     s.Verify(d.held.Access, ""),
		"refresh":    s.Refresh(authsvctest.Worker, d.held.Refresh),
		"revoke":     s.Revoke(authsvctest.Worker, d.held.Access),
		"revoke all": s.Revoke(authsvctest.Worker, d.held.Refresh),
	} {
		f.want("damaged: "+what+": "+did, a, 503, unavailable)
	}
	if d.before.Refresh != "" {
		f.want("damaged: "+what+": repeat", s.Refresh(authsvctest.Worker, d.before.Refresh), 503, unavailable)
	}
	if now, err := d.server.Client().Get(context.Background(), d.key).Bytes(); err != nil || !bytes.Equal(now, []byte(record)) {
		f.add("damaged: %s: the record was changed, %v", what, err)
	}
	d.write(t, d.record)
	if d.revoked {
		f.inactive("restored: "+what+": introspect", s.Introspect(d.held.Access), accessInvalid)
	} else {
		f.active("restored: "+what+": introspect", s.Introspect(d.held.Access))
		if d.before.Refresh == "" {
			return
		}
		if a := s.Refresh(authsvctest.Worker, d.before.Refresh); a.Pair() != d.held {
			f.add("restored: %s: repeat: %d %s", what, a.Status, a.Body)
		}
	}
}
