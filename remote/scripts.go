package remote

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// script is a Lua script and the name under which servers cache it.
type script struct{ text, sha string }

// texts are those of all scripts, by their names.
var texts = make(map[string]string)

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // the protocol's choice
	s := script{text, hex.EncodeToString(sum[:])}
	texts[s.sha] = text
	return s
}

// publishing is a script that publishes, and its like for clusters.
type publishing struct{ single, sharded script }

func newPublishing(text string) publishing {
	return publishing{newScript(text), newScript(strings.ReplaceAll(text, "'PUBLISH'", "'SPUBLISH'"))}
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

// The history of a server: its replication id, which it shares with the replicas
// that have all it has, and loses when it is promoted or restarted. What had been
// acknowledged until then it may or may not have.
const luaServer = `
local function server()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '', '' end
  return string.match(info, 'role:(%a+)') or '', string.match(info, 'master_replid:(%x+)') or ''
end
`

// Members with the score -1 are no changes: 'i' and the incarnation, which comes
// first, 'k' and up to where whoever began the log had applied the one before, which
// comes second (see invalidation.Delta.After), 'r' and each history whose servers write to the store, 'v' and the name
// of each namespace in which keys are written (see invalidation.Written).
const luaRenew = luaServer + `
local function known_tick(known) return tonumber(string.match(known, '@(%d+)$')) end
local function renew(log, inc, known)
  redis.call('DEL', log)
  local tick = math.max(known_tick(known) + 1, (now()))
  local _, history = server()
  redis.call('ZADD', log, -1, 'i' .. inc, -1, 'k' .. known, -1, 'r' .. history, fmt(tick), 'f')
  return inc, tick
end
`

var (
	// scriptAppend: KEYS log; ARGV channel, new incarnation, known position,
	// retention µs, all, body, most changes to forget, scopes... The known position is
	// checked first: a log that ends before what the caller has applied lost
	// history. A change is small, and must go through when memory is full.
	scriptAppend = newPublishing("#!lua flags=allow-oom\n" + luaLog + luaRenew + `
local log, t, forget = KEYS[1], (now()), tonumber(ARGV[7])
local inc, last = head(log)
if not inc or last < known_tick(ARGV[3]) then inc, last = renew(log, ARGV[2], ARGV[3]) end
local old, top = {}, 0
if forget > 0 then old = redis.call('ZRANGEBYSCORE', log, 0, fmt(t - tonumber(ARGV[4])), 'WITHSCORES', 'LIMIT', 0, forget) end
for i = 1, #old, 2 do
  if old[i] ~= 'f' then
    redis.call('ZREM', log, old[i])
    if string.sub(old[i], 1, 1) == 'w' then redis.call('ZREM', log, 'v' .. string.sub(old[i], 2)) end
    top = tonumber(old[i + 1])
  end
end
if top > 0 then redis.call('ZADD', log, 'GT', fmt(top), 'f') end
local tick = math.max(last + 1, t)
local score = fmt(tick)
if ARGV[5] == '1' then redis.call('ZADD', log, score, 'f') end
for i = 8, #ARGV do
  redis.call('ZADD', log, score, ARGV[i])
  if string.sub(ARGV[i], 1, 1) == 'w' then redis.call('ZADD', log, -1, 'v' .. string.sub(ARGV[i], 2)) end
end
redis.call('PUBLISH', ARGV[1], inc .. ' ' .. fmt(last) .. ' ' .. score .. ' ' .. ARGV[6])
return {inc, fmt(last), score}
`)

	// scriptRenew: KEYS log; ARGV new incarnation, known position, forked incarnation.
	scriptRenew = newScript(luaLog + luaRenew + `
local inc, last = head(KEYS[1])
if not inc or last < known_tick(ARGV[2]) or inc == ARGV[3] then renew(KEYS[1], ARGV[1], ARGV[2]) end
return 1
`)

	// scriptAdmit: KEYS log; ARGV channel, history. A server of another history has
	// begun to answer: it may have lost what was written to single keys, of which
	// the log tells nothing. So all in those namespaces changes, once. There is no
	// end to names, but to what is worth naming one by one. What is published says
	// nothing, and so has everybody read the log.
	scriptAdmit = newPublishing("#!lua flags=allow-oom\n" + luaLog + `
local log, history = KEYS[1], 'r' .. ARGV[2]
local inc, last = head(log)
if not inc then return 0 end
if redis.call('ZSCORE', log, history) then return 1 end
local scopes, histories = {}, {}
for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
  local kind = string.sub(m, 1, 1)
  if kind == 'v' then scopes[#scopes + 1] = 'n' .. string.sub(m, 2) end
  if kind == 'r' then histories[#histories + 1] = m end
end
if #histories >= 1000 then
  for _, m in ipairs(histories) do redis.call('ZREM', log, m) end
end
redis.call('ZADD', log, -1, history)
if #scopes == 0 then return 1 end
local score = fmt(math.max(last + 1, (now())))
if #scopes > 1000 then scopes = {'f'} end
for _, s in ipairs(scopes) do redis.call('ZADD', log, score, s) end
redis.call('PUBLISH', ARGV[1], '')
return 1
`)

	// scriptDelta: KEYS log; ARGV since, incarnation, limit, scopes... It only reads.
	scriptDelta = newScript(luaLog + luaServer + `
local log, since = KEYS[1], tonumber(ARGV[1])
local _, t = now()
local role, history = server()
local inc, tick = head(log)
if not inc then return {role, history, t[1], t[2], ''} end
local floor = redis.call('ZSCORE', log, 'f') or '0'
local changes, over = {}, 0
if tick > since then
  local from, most = '(' .. fmt(since), tonumber(ARGV[3])
  if tonumber(floor) > since then most = most + 1 end -- its member is no change
  if redis.call('ZCOUNT', log, from, '+inf') > most then over = 1
  else changes = redis.call('ZRANGEBYSCORE', log, from, '+inf', 'WITHSCORES') end
end
local known, after = {}, ''
for i = 4, #ARGV do known[i - 3] = redis.call('ZSCORE', log, ARGV[i]) or '0' end
if inc ~= ARGV[2] then
  local second = redis.call('ZRANGE', log, 1, 1)[1] or ''
  if string.sub(second, 1, 1) == 'k' then after = string.sub(second, 2) end
end
return {role, history, t[1], t[2], inc, fmt(tick), floor, over, changes, known, after}
`)

	// scriptProbe: no keys. What a server of a cluster says of itself: the line about
	// it of CLUSTER NODES is empty if it does not take part.
	scriptProbe = newScript(luaServer + `
local t = redis.call('TIME')
local role, history = server()
local state = string.match(redis.call('CLUSTER', 'INFO'), 'cluster_state:(%a+)')
local own = string.match(redis.call('CLUSTER', 'NODES'), '[^\n]*myself[^\n]*')
return {role, history, t[1], t[2], state or '', own or ''}
`)

	// scriptWrite: KEYS data, lease; ARGV token, value, its expiry in ms, unread, how
	// long leases last in ms, and the bounds of its Window or nothing.
	// Commands inside a script are what most of its time goes into; so the lease is
	// looked at and ended by one, and another's is put back. That is no reason to be
	// told that it has gone, as reading it would be. But it writes before the value
	// does, and a server lets such a script go on when memory is full: as one with
	// flags, it does not begin then, whoever holds the lease.
	// The last one has the key tracked again, which SET has ended, and tells
	// whether the value is there at all: see Written.Expired.
	scriptWrite = newScript("#!lua" + luaOutside + `
if ARGV[6] and outside(ARGV[6], ARGV[7]) then return 0 end
if ARGV[1] ~= '' then
  local held = redis.pcall('GETDEL', KEYS[2])
  if held ~= ARGV[1] then
    if type(held) == 'string' then redis.call('SET', KEYS[2], held, 'PX', ARGV[5]) end
    if type(held) == 'table' and string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return held end
    return 0
  end
end
if ARGV[4] == '1' then redis.call('EXISTS', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
if ARGV[1] == '' then redis.call('DEL', KEYS[2]) end
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

	// scriptDelete: KEYS data, lease; ARGV the bounds of its Window. It returns -1 outside of that. Of what is not there
	// nobody would be told, who may be loading it; so it is made first. (It is not refused for want of memory: the
	// script has removed a key by then.)
	scriptDelete = newScript(luaOutside + `
if outside(ARGV[1], ARGV[2]) then return -1 end
` + luaDelete)

	// scriptDiscard: KEYS data, lease; ARGV token.
	scriptDiscard = newScript(`
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return 0 end
` + luaDelete)
)

// outside reports whether the server's clock is outside of a Window, whose bounds are in µs.
const luaOutside = `
local function outside(from, before)
  local t = redis.call('TIME')
  local now = t[1] * 1000000 + t[2]
  return now < tonumber(from) or now >= tonumber(before)
end
`

const luaDelete = `
local found = redis.call('UNLINK', KEYS[1])
if found == 0 then
  redis.call('SET', KEYS[1], '', 'PX', 1000)
  redis.call('UNLINK', KEYS[1])
end
return found + redis.call('DEL', KEYS[2])
`
