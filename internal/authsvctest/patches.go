package authsvctest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Patch names a change of the sources. With it, a test builds authsvc without a
// protection, to show that the test fails then, or with a fault that can't be produced
// otherwise. All patches are in one list, below. TestPatchesApply says which of them no
// longer fit the sources.
type Patch string

// The patches, each described by what authsvc does with it.
const (
	RetryIsReplay            Patch = "takes the retry of a refresh for a replay"
	RetryGetsItsOwnPair      Patch = "answers the retry of a refresh with a new pair"
	PairsDiffer              Patch = "dates every pair differently, so that two pairs for one token never look the same" // times are in milliseconds
	LeaversStay              Patch = "ends a grant for a replay, even if its caller has left"
	NewerTokenIsForged       Patch = "refuses a refresh token that is newer than its grant"
	LostLineIsReplay         Patch = "takes a refresh token of a line that the store lost for a replay"
	ChangesAreForgotten      Patch = "does not tell a token from one with another scope or through_data"
	OutagesAreIgnored        Patch = "lets the grace of a refresh run while the store can't be asked"
	SwapIsBlind              Patch = "swaps whatever the store holds"
	SwapIsNotFenced          Patch = "lets a swap happen whenever Redis comes to it, even after its caller has given up"
	SwapNeedsMemory          Patch = "does not swap when Redis is full"
	FailedWriteIsDone        Patch = "takes a failed write for done"
	ChecksumIsIgnored        Patch = "reads a record whatever its checksum"
	UnreadableIsAbsent       Patch = "takes an unreadable record for a missing one, and is ready while Redis loads"
	LayoutStays              Patch = "never refreshes the layout of a Cluster"
	OldPrimaryIsKept         Patch = "stays with a primary until the one Sentinel that it listens to announces another"
	RedirectionsFail         Patch = "does not follow the redirections of a Cluster"
	ReadsAreCapped           Patch = "waits no longer than 100 ms for an answer of Redis, however long a request may wait"
	RequestsWait             Patch = "lets a request wait for the store without a deadline"
	ConnectionsStay          Patch = "has no timeouts for slow connections"
	StrangersFill            Patch = "has no limit on what strangers make it hold"
	StopsAtOnce              Patch = "does not wait for the balancer when it stops"
	ConnectionsOutliveEnd    Patch = "does not ask clients to close their connections when it stops"
	ClockIsOff               Patch = "has a clock that is wrong by the duration in the name of its file"
	StoreClockIsIgnored      Patch = "ignores the clock of the store"
	SpansShowStatements      Patch = "puts its Redis commands into its spans"
	SpansShowRequests        Patch = "puts requests into its spans unfiltered"
	RedisIsCheckedAllTheTime Patch = "checks Redis 20 times a second"
)

// The patched files, relative to the root of the repository.
const (
	decide        = "internal/token/decide.go"
	outage        = "internal/token/outage.go"
	grant         = "internal/token/grant.go"
	clock         = "internal/token/clock.go"
	swap          = "internal/store/redis/swap.lua"
	redisStore    = "internal/store/redis/store.go"
	redisConn     = "internal/redisconn/conn.go"
	redisWait     = "internal/redisconn/timeouts.go"
	redisDo       = "internal/redisconn/do.go"
	redisRoute    = "internal/redisconn/route.go"
	sentinels     = "internal/redisconn/sentinels.go"
	redisSpans    = "internal/redisconn/spans.go"
	exchanges     = "internal/answer/router.go"
	tokenEndpoint = "internal/httpapi/token.go"
	endpoints     = "internal/httpapi/server.go"
	spans         = "internal/telemetry/spans.go"
	process       = "internal/process/process.go"
	listeners     = "internal/process/server.go"
	gate          = "internal/process/gate.go"
	memory        = "internal/process/memory.go"
	heads         = "internal/answer/head.go"
	drain         = "internal/process/drain.go"
	monitor       = "internal/process/monitor.go"
)

// edit is a change of one file: old, which must occur in it exactly once, becomes new.
type edit struct{ file, old, new string }

var patches = map[Patch][]edit{
	RetryIsReplay: {
		{decide, "case n == g.From && c.inGrace(g.Rotated):", "case false:"},
		{decide, "case n == g.From && c.mayBeInGrace(g.Rotated):", "case false:"},
	},
	RetryGetsItsOwnPair: {{decide, "return c.repeated()", "return c.rotated()"}},
	PairsDiffer: {{
		decide, "g.setPair(max(n+1, g.LowestValid), c.key, now, c.ttl)",
		"g.setPair(max(n+1, g.LowestValid), c.key, now.Add(time.Duration(time.Now().UnixMicro()%1000)*time.Millisecond), c.ttl)",
	}},
	LeaversStay:         {{tokenEndpoint, "r.Left = x.Left()", ""}},
	NewerTokenIsForged:  {{decide, "return c.healed()", "return refused(errRefreshForged())"}},
	LostLineIsReplay:    {{decide, "case c.token.lost(g):", "case false:"}},
	ChangesAreForgotten: {{grant, "GrantHash { return hashOf(g.Scope, g.ThroughData) }", "GrantHash { return GrantHash{} }"}},

	OutagesAreIgnored: {{outage, "for _, a := range o.Away {", "for _, a := range o.Away[:0] {"}},

	SwapIsBlind:     {{swap, "if held ~= ARGV[1] then return 'conflict' end", ""}},
	SwapIsNotFenced: {{swap, "if now[1] * 1000000 + now[2] > tonumber(ARGV[4]) then return 'late' end", ""}},
	SwapNeedsMemory: {{swap, "#!lua flags=allow-oom\n", "#!lua\n"}},

	FailedWriteIsDone: {{redisStore, `case err == nil && reply == "OK":`, `case reply == "OK", err != nil:`}},
	ChecksumIsIgnored: {{grant, "if binary.BigEndian.Uint32(sum) != checksum(id, fields) {", "if false && binary.BigEndian.Uint32(sum) != checksum(id, fields) {"}},
	UnreadableIsAbsent: {
		{redisStore, "record, ok := reply.(string)", "if err != nil { return nil, token.ErrNotFound }; record, ok := reply.(string)"},
		{
			redisRoute, `reply, err := c.Eval(ctx, timeSource, []string{key}).StringSlice()`,
			`if now, err := c.Time(ctx).Result(); err == nil { return now, nil }; reply, err := c.Eval(ctx, timeSource, []string{key}).StringSlice()`,
		},
	},
	LayoutStays:      {{redisConn, "r.cluster.ReloadState(ctx)\n", ""}},
	OldPrimaryIsKept: {{sentinels, `return s.named[addr] && s.right.primary != ""`, `return false && s.named[addr] && s.right.primary != ""`}},
	RedirectionsFail: {{redisDo, "if r.cluster != nil && isRedirection(err) {", "if false && isRedirection(err) {"}},

	ReadsAreCapped: {{redisWait, "io: max(request/3, min(request, leastIO))", "io: min(request, leastIO)"}},
	RequestsWait:   {{endpoints, "return context.WithTimeout(x.Context(), s.cfg.StoreTimeout)", "return context.WithCancel(x.Context())"}},
	ConnectionsStay: {
		{listeners, "readHeaderTimeout = 10 * time.Second", "readHeaderTimeout = 0 * time.Second"},
		{listeners, "readTimeout       = 60 * time.Second", "readTimeout       = 0 * time.Second"},
		{listeners, "writeTimeout      = 90 * time.Second", "writeTimeout      = 0 * time.Second"},
		{listeners, "idleTimeout       = 2 * time.Minute", "idleTimeout       = 0 * time.Second"},
	},
	StrangersFill: {
		{memory, `return roomFor(memoryLimit("/"), fileLimit())`, `return 1 << 40`},
		{gate, "maxStreams = 32", "maxStreams = 250"},
		{gate, "if c.lines > answer.MaxHeaders+100 {", "if false {"},
		{heads, "const MaxHeaderBytes = 192 << 10", "const MaxHeaderBytes = 1 << 20"},
	},
	StopsAtOnce:           {{drain, "<-over.Done()", "_ = over"}},
	ConnectionsOutliveEnd: {{exchanges, "if r.cfg.Draining() {", "if false {"}},

	// This is the clock that everything else uses: the store's clock is measured with
	// it.
	ClockIsOff: {
		{process, `token.NewClock(time.Now)`, `token.NewClock(func() time.Time {
			off, err := time.ParseDuration(os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:])
			if err != nil {
				panic(err)
			}
			return time.Now().Add(off)
		})`},
		{process, "\t\"sync\"\n", "\t\"strings\"\n\t\"sync\"\n"},
	},
	StoreClockIsIgnored: {{clock, "return s.store.Add(process.Sub(s.process)), nil", "return process, nil"}},

	SpansShowStatements: {{redisSpans, "WithDBStatement(false)", "WithDBStatement(true)"}},
	SpansShowRequests:   {{spans, "spans.ServeHTTP(w, shown.With", "shown = r; spans.ServeHTTP(w, shown.With"}},

	RedisIsCheckedAllTheTime: {{monitor, "checkEvery = time.Minute", "checkEvery = 50 * time.Millisecond"}},
}

// BuildPatched builds authsvc, without the race detector, with these patches, and
// returns its path. The sources themselves do not change.
func BuildPatched(t testing.TB, names ...Patch) string {
	t.Helper()
	list, _, err := overlay(t.TempDir(), names...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "authsvc")
	if err := build(path, false, list); err != nil {
		t.Fatal(err)
	}
	return path
}

// overlay writes the overlay of go build -overlay for some patches to a directory. It
// returns the path of its list and the patched files, relative to the root of the
// repository.
func overlay(dir string, names ...Patch) (list string, files []string, err error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", nil, err
	}
	root, patched := filepath.Dir(strings.TrimSpace(string(mod))), map[string][]byte{}
	for _, name := range names {
		for _, e := range patches[name] {
			source, ok := patched[e.file]
			if !ok {
				if source, err = os.ReadFile(filepath.Join(root, e.file)); err != nil {
					return "", nil, err
				}
				files = append(files, e.file)
			}
			if n := bytes.Count(source, []byte(e.old)); n != 1 {
				return "", nil, fmt.Errorf("%s contains %q %d times, not once: the patch %q is out of date", e.file, e.old, n, name)
			}
			patched[e.file] = bytes.Replace(source, []byte(e.old), []byte(e.new), 1)
		}
	}
	replace := map[string]string{}
	for i, file := range files {
		to := filepath.Join(dir, fmt.Sprintf("%d%s", i, filepath.Ext(file)))
		if err := os.WriteFile(to, patched[file], 0o600); err != nil {
			return "", nil, err
		}
		replace[filepath.Join(root, file)] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	list = filepath.Join(dir, "overlay.json")
	return list, files, os.WriteFile(list, text, 0o600)
}
