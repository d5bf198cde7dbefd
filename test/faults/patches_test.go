package faults

import "authsvc/internal/authsvctest"

// The patches that take a protection away, for the negative controls.
var (
	// noRepeat takes the retry of a refresh for a replay.
	noRepeat = authsvctest.Patch{
		File: "internal/token/decide.go",
		Old:  "case n == g.Serial-1 && within(c.now, g.Rotated, c.grace):", New: "case false:",
	}
	// pairOfItsOwn answers the retry of a refresh with a pair that is new.
	pairOfItsOwn = authsvctest.Patch{
		File: "internal/token/decide.go",
		Old:  "return c.repeated()", New: "return c.rotated(g.Serial)",
	}
	// noCompare swaps whatever the store holds.
	noCompare = authsvctest.Patch{
		File: "internal/store/swap.lua",
		Old:  "if held ~= ARGV[1] then return 'conflict' end", New: "",
	}
	// eachItsTime dates every pair that is made differently. Times are in seconds, so
	// without it two that are made for one token mostly look the same.
	eachItsTime = authsvctest.Patch{
		File: "internal/token/decide.go",
		Old:  "g.setPair(n+1, c.key, now, c.ttl)", New: "g.setPair(n+1, c.key, now.Add(time.Duration(time.Now().UnixMicro()%1000)*time.Second), c.ttl)",
	}
	// noFence lets a swap that was given up happen whenever Redis comes to it.
	noFence = authsvctest.Patch{
		File: "internal/store/swap.lua",
		Old:  "if now[1] * 1000000 + now[2] > tonumber(ARGV[4]) then return 'late' end", New: "",
	}
	// noDeadline lets a request wait for the store as long as that takes.
	noDeadline = authsvctest.Patch{
		File: "internal/httpapi/server.go",
		Old:  "return context.WithTimeout(ctx, x.server.cfg.StoreTimeout)", New: "return context.WithCancel(ctx)",
	}
)
