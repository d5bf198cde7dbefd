#!lua flags=allow-oom
-- The compare-and-swap of token.Store. It may run twice, and long after its
-- caller gave up; allow-oom: a full Redis can still rotate and revoke.
-- KEYS: the grant. ARGV: was, next, expire at (unix ms), not after (unix us).
local held = redis.call('GET', KEYS[1])
if held == ARGV[2] then return 'swapped' end
local now = redis.call('TIME')
if now[1] * 1000000 + now[2] > tonumber(ARGV[4]) then return 'late' end
if held ~= ARGV[1] then return 'conflict' end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 'swapped'
