#!lua flags=allow-oom
-- Replaces the list of a shard's outages, if it is still the one that was read. It may run
-- twice; allow-oom: a full Redis can still be told.
-- KEYS: the list. ARGV: was ('' for none), next, expire at (unix ms).
local held = redis.call('GET', KEYS[1]) or ''
if held == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3]) end
return 'done'
