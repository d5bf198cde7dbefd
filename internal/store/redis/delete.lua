#!lua flags=allow-oom
-- The compare-and-delete of token.Store. It may run twice, and long after its
-- caller gave up; allow-oom: a full Redis can still revoke.
-- KEYS: the grant. ARGV: was.
local held = redis.call('GET', KEYS[1])
if not held then return 'deleted' end
if held ~= ARGV[1] then return 'conflict' end
redis.call('DEL', KEYS[1])
return 'deleted'
