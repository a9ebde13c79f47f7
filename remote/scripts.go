package remote

import (
	"crypto/sha1"
	"encoding/hex"
)

// script is a Lua script and the name under which servers cache it.
type script struct{ text, sha string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // the protocol's choice
	return script{text, hex.EncodeToString(sum[:])}
}

// Ticks are integers below 2^53 and exact in Lua's doubles, but its own
// formatting keeps 14 digits; hence fmt.
const luaLog = `
local function fmt(n) return string.format('%.0f', n) end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2], t
end
local function head(log)
  local first = redis.pcall('ZRANGE', log, 0, 0)
  if first.err or not first[1] or string.sub(first[1], 1, 1) ~= 'i' then return nil, 0 end
  local last = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')
  return string.sub(first[1], 2), tonumber(last[2])
end
`

const luaRenew = `
local function renew(log, inc, after)
  redis.call('DEL', log)
  local tick = math.max(after + 1, (now()))
  redis.call('ZADD', log, -1, 'i' .. inc, fmt(tick), 'f')
  return inc, tick
end
`

var (
	// scriptAppend: KEYS log; ARGV channel, new incarnation, known tick,
	// retention µs, all, body, most changes to forget, scopes... The known tick is
	// checked first: a log that ends before what the caller has applied lost
	// history. A change is small, and must go through when memory is full.
	scriptAppend = newScript("#!lua flags=allow-oom\n" + luaLog + luaRenew + `
local log, t, forget = KEYS[1], (now()), tonumber(ARGV[7])
local inc, last = head(log)
local known = tonumber(ARGV[3])
if not inc or last < known then inc, last = renew(log, ARGV[2], known) end
local old, top = {}, 0
if forget > 0 then old = redis.call('ZRANGEBYSCORE', log, 0, fmt(t - tonumber(ARGV[4])), 'WITHSCORES', 'LIMIT', 0, forget) end
for i = 1, #old, 2 do
  if old[i] ~= 'f' then
    redis.call('ZREM', log, old[i])
    top = tonumber(old[i + 1])
  end
end
if top > 0 then redis.call('ZADD', log, 'GT', fmt(top), 'f') end
local tick = math.max(last + 1, t)
local score = fmt(tick)
if ARGV[5] == '1' then redis.call('ZADD', log, score, 'f') end
for i = 8, #ARGV do redis.call('ZADD', log, score, ARGV[i]) end
redis.call('PUBLISH', ARGV[1], inc .. ' ' .. fmt(last) .. ' ' .. score .. ' ' .. ARGV[6])
return {inc, fmt(last), score}
`)

	// scriptRenew: KEYS log; ARGV new incarnation, known tick, forked incarnation.
	scriptRenew = newScript(luaLog + luaRenew + `
local inc, last = head(KEYS[1])
if not inc or last < tonumber(ARGV[2]) or inc == ARGV[3] then renew(KEYS[1], ARGV[1], tonumber(ARGV[2])) end
return 1
`)

	// scriptDelta: KEYS log; ARGV since, limit, scopes... It only reads.
	scriptDelta = newScript(luaLog + `
local log, since = KEYS[1], tonumber(ARGV[1])
local _, t = now()
local inc, tick = head(log)
if not inc then return {'', '0', '0', t[1], t[2], 0, {}, {}} end
local floor = redis.call('ZSCORE', log, 'f') or '0'
local changes, over = {}, 0
if tick > since then
  local from, most = '(' .. fmt(since), tonumber(ARGV[2])
  if tonumber(floor) > since then most = most + 1 end -- its member is no change
  if redis.call('ZCOUNT', log, from, '+inf') > most then over = 1
  else changes = redis.call('ZRANGEBYSCORE', log, from, '+inf', 'WITHSCORES') end
end
local known = {}
for i = 3, #ARGV do known[i - 2] = redis.call('ZSCORE', log, ARGV[i]) or '0' end
return {inc, fmt(tick), floor, t[1], t[2], over, changes, known}
`)

	// scriptWrite: KEYS data, lease; ARGV token, value, its expiry in ms, unread,
	// latest moment in ms or nothing.
	// Commands inside a script are what most of its time goes into.
	// The last one has the key tracked again, which SET has ended, and tells
	// whether the value is there at all: see Written.Expired.
	scriptWrite = newScript(`
if ARGV[1] ~= '' and redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[5] then
  local t = redis.call('TIME')
  if t[1] * 1000 + t[2] / 1000 > tonumber(ARGV[5]) then return 0 end
end
if ARGV[4] == '1' then redis.call('EXISTS', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
redis.call('DEL', KEYS[2])
return 2 - redis.call('EXISTS', KEYS[1])
`)

	// scriptLease: KEYS data, lease; ARGV token, ttl ms, seen, any. It reads the
	// key in any case, so that it is tracked, and another's lease, so that the
	// caller is told when it goes. A lease without an expiry is none of ours and
	// would block the key for ever. One that lasts longer than leases do has been
	// taken before the clock was set back; it gets what it would have had.
	scriptLease = newScript(`
if ARGV[4] == '1' then redis.call('EXISTS', KEYS[1])
elseif ARGV[3] == '' then
  local there = redis.pcall('GET', KEYS[1])
  if type(there) == 'string' then return there end
else
  local seen = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[3] - 1)
  if type(seen) == 'string' and seen ~= '' and seen ~= ARGV[3] then return redis.call('GET', KEYS[1]) end
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local holder, wait, most = redis.pcall('GET', KEYS[2]), redis.call('PTTL', KEYS[2]), tonumber(ARGV[2])
if holder == ARGV[1] then return 1 end
if wait > most and type(holder) == 'string' then
  redis.call('SET', KEYS[2], holder, 'PX', most)
  wait = most
end
if wait >= 0 then return -wait end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
`)
	// scriptExtend: KEYS lease; ARGV token, ttl ms.
	scriptExtend = newScript(`
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

	// scriptRelease: KEYS lease; ARGV token.
	scriptRelease = newScript(`
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

	// scriptDelete: KEYS data, lease.
	scriptDelete = newScript(`return redis.call('UNLINK', KEYS[1]) + redis.call('DEL', KEYS[2])`)
)
