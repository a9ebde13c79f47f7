package remote

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/tiercache/tiercache/internal/changelog"
)

// script is a Lua script and the name under which servers cache it.
type script struct{ text, sha string }

// texts has the text of each script by its SHA-1.
var texts = make(map[string]string)

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // as the server's protocol has it
	s := script{text, hex.EncodeToString(sum[:])}
	texts[s.sha] = text
	return s
}

// publishing is a script that publishes, and its variant for clusters.
type publishing struct{ single, sharded script }

func newPublishing(text string) publishing {
	return publishing{newScript(text), newScript(strings.ReplaceAll(text, "'PUBLISH'", "'SPUBLISH'"))}
}

// Ticks are integers below 2^53 and exact in Lua's doubles, but Lua's own
// formatting keeps 14 digits; hence fmt.
//
// head returns the incarnation and the latest tick of a log, whether it states its format,
// and its pace (see luaPublish), or nil where there is no
// log: a key of another type, without its first member, or with a latest tick that
// no server can have given. The bound on that is a hundred years from now and not a
// fixed number: the first change after a tick just below a fixed bound would exceed it.
// A command that the server refuses is an error and not a missing log: otherwise every
// reader would renew the log when a right is revoked. A log that needs a later format is
// left alone.
const luaLog = `
local function fmt(n) return string.format('%.0f', n) end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2], t
end
local function head(log, t)
  local first = redis.pcall('ZRANGE', log, 0, 3)
  if first.err then
    -- guard: I6-refused-command
    if string.sub(first.err, 1, 9) ~= 'WRONGTYPE' then redis.call('ZRANGE', log, 0, 2) end
    return nil, 0
  end
  local inc = string.sub(first[1] or '', 2)
  if #inc ~= 16 or not string.find(first[1], '^i[0-9a-f]+$') or inc == '0000000000000000' then return nil, 0 end
  local marked, pace = false, nil
  for i = 2, #first do
    if string.byte(first[i]) == 109 then pace = first[i] end -- m
    if string.byte(first[i]) == 108 then -- l
      local newest, least = string.match(first[i], '^l(%d+):(%d+)$')
      -- guard: later-log-format
      if least and tonumber(least) > FORMAT then error({err = 'NEWERLOG ' .. newest .. ' ' .. least}) end
      marked = marked or least
    end
  end
  local last = tonumber(redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2])
  -- guard: impossible-tick-is-damage
  if last % 1 ~= 0 or last > t + 3155760000000000 then return nil, 0 end
  return inc, last, marked, pace
end
`

// The history of a server is its replication id, which it shares with the replicas
// that have all its data, and loses when it is promoted or restarted. It may then lack
// writes that had been acknowledged. Its counters under one history only grow, unless
// the machine was set back to a snapshot. To tell the number of commands costs the server
// six times as much as the rest.
const luaServer = `
local function server(counts)
  local info = counts and redis.pcall('INFO', 'replication', 'stats') or redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '', '', '', '' end
  return string.match(info, 'role:(%a+)') or '', string.match(info, 'master_replid:(%x+)') or '',
    string.match(info, 'master_repl_offset:(%d+)') or '', counts and string.match(info, 'total_commands_processed:(%d+)') or ''
end
`

// Members with the score -1 are no changes: 'i' and the incarnation, which comes
// first; 'k' and a position in the log before, up to which the process that began this
// log had applied it, which comes second (see changelog.Delta.After); 'l' and the
// formats (see changelog.Format), which comes third; 'm' and the pace of messages (see
// luaPublish), which comes fourth; 'o' and the options of each open store (see
// scriptEnrol); 'r' and each history that was admitted (see scriptAdmit); 'v' and the
// name of each declared namespace (see changelog.Written), or 'v*' for all.
const luaRenew = luaServer + `
local function known_tick(known) return tonumber(string.match(known, '@(%d+)$')) end
local function renew(log, inc, known)
  local tick = math.max(known_tick(known) + 1, (now()))
  local _, history = server()
  redis.call('DEL', log)
  -- guard: I5-log-predecessor
  -- guard: I6-missing-log
  redis.call('ZADD', log, -1, 'i' .. inc, -1, 'k' .. known, -1, 'lFORMAT:1', -1, 'r' .. history, fmt(tick), 'f')
  return inc, tick
end
`

// lags are the members with the score -1 that say after which lags changes settle (see
// changelog.Lag): 'z' and the lag, and '@' and a tick if trim took scopes of that lag out that had
// not settled. settle adds one for a scope that says so.
const luaLags = `
local function settle(log, scope)
  local lag = string.match(scope, '^z%w+')
  if not lag or redis.call('ZSCORE', log, lag) then return end
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
    if string.sub(m, 1, #lag + 1) == lag .. '@' then return end
  end
  redis.call('ZADD', log, -1, lag)
end
local function fold(log, lags)
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
    local lag, was = string.match(m, '^(z%w+)@?(%d*)$')
    if lag and lags[lag] then
      redis.call('ZREM', log, m)
      lags[lag] = math.max(lags[lag], tonumber(was) or 0)
    end
  end
  for lag, tick in pairs(lags) do redis.call('ZADD', log, -1, lag .. '@' .. fmt(tick)) end
end
`

// trim removes the oldest scopes from the log, at most the number most, and raises the
// floor to the latest of them: those that are older than any entry can be, those below
// the floor already, and those beyond the bound (see changelog.MostScopes). The latest member is never beyond the bound, so the
// log keeps its tick. Declarations (the members 'v') are never removed, though the scope
// that recorded one is. To declare again would be too late:
//
//	A:      declares a namespace, and sets a key of it
//	B:      has the declaration trimmed
//	server: saves its file
//	A:      sets the key again, and does not know the new floor
//	server: is restarted from the file; the log does not say that keys were written
const luaTrim = `
local function stays(t, m)
  local mode, keep, till = string.match(m, '^o(%a):(%d+)@(%d+)$')
  till = tonumber(till or '0')
  -- guard: I2-enrolment-ends
  return till > t and till < t + 120000000 and mode, tonumber(keep), till
end
local function trim(log, t, most, retention)
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
    local mode, keep = stays(t, m)
    -- guard: R13-longest-retention
    if mode then retention = math.max(retention, keep * 1000) end
  end
  local floor = tonumber(redis.call('ZSCORE', log, 'f') or '0')
  local cut = math.max(floor, t - retention)
  local memory = tonumber(string.match(redis.call('INFO', 'memory'), 'maxmemory:(%d+)') or '0')
  local bound = MOST
  if memory > 0 then bound = math.min(bound, math.max(LEAST, math.floor(memory / BYTES / 4))) end
  local excess = redis.call('ZCOUNT', log, 0, '+inf') - bound
  local old = redis.call('ZRANGEBYSCORE', log, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  local gone, top, n, lags = {}, 0, 0, {}
  for i = 1, #old, 2 do
    local score = tonumber(old[i + 1])
    -- guard: log-is-bounded
    if score > cut and n >= excess then break end
    n = n + 1
    -- guard: I6-declaration-is-not-trimmed
    if old[i] ~= 'f' then gone[#gone + 1], top = old[i], score end
    local lag = string.match(old[i], '^z(%w+)')
    -- guard: S3-trimmed-before-settled
    if lag and score + tonumber(lag, 36) * 1000 > t then lags['z' .. lag] = score end
  end
  if next(lags) then fold(log, lags) end
  for i = 1, #gone, 1000 do redis.call('ZREM', log, unpack(gone, i, math.min(i + 999, #gone))) end
  -- guard: R13-trim-raises-floor
  if top > floor then redis.call('ZADD', log, 'GT', fmt(top), 'f') end
  return n >= most
end
`

// declare puts a namespace's declaration into the log. Beyond 1,000 of them, one member
// replaces all and stands for all namespaces.
const luaDeclare = `
local function declare(log, name)
  if redis.call('ZSCORE', log, 'v*') then return end
  redis.call('ZADD', log, -1, 'v' .. name)
  local all = {}
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
    if string.byte(m) == 118 then all[#all + 1] = m end -- v
  end
  -- guard: declarations-are-bounded
  if #all <= 1000 then return end
  for _, m in ipairs(all) do redis.call('ZREM', log, m) end
  redis.call('ZADD', log, -1, 'v*')
end
`

// Messages have a pace: see changelog.Pace. The log has it in a member of the score -1: 'm', the
// position up to which all changes have been told, ':', and until when the share of the messages
// so far lasts, in µs. Without it all has been told: messages that go to few leave none, since to keep it
// takes as long as such a message. Versions that do not know the member publish a message for each change,
// which does not say so; what they have told is told again then.
//
// What waits is in the log itself, between the position that was told and the latest. A message
// of several changes is made of that: see changelog.BodyOfSeveral.
const luaPublish = `
local function paced(pace, t, last)
  if not pace then return last, t, 0 end
  local told, paid = string.match(pace, '^m(%d+):(%d+)$')
  told, paid = math.min(tonumber(told) or last, last), tonumber(paid) or 0
  local wait = paid - BURST - t
  -- guard: pace-after-clock-step
  if wait > PAUSE then paid, wait = t, 0 end
  return told, paid, wait
end
local function several(log, told, tick)
  local changes = redis.call('ZRANGEBYSCORE', log, '(' .. fmt(told), '+inf', 'WITHSCORES', 'LIMIT', 0, PUBLISHED + 1)
  -- guard: several-too-many
  if #changes > 2 * PUBLISHED then return '\6' end
  local body = {'\4'}
  for i = 1, #changes, 2 do
    local before = fmt(tick - tonumber(changes[i + 1]))
    -- guard: several-too-long
    if #changes[i] > SEVERAL then return '\6' end
    body[#body + 1] = string.char(#changes[i]) .. changes[i] .. string.char(#before) .. before
  end
  return table.concat(body)
end
local function message(inc, from, tick, body) return inc .. ' ' .. fmt(from) .. ' ' .. fmt(tick) .. ' ' .. body end
local function publish(log, channel, inc, pace, told, paid, t, tick, body)
  local n = redis.call('PUBLISH', channel, message(inc, told, tick, body))
  -- guard: pace-of-few-is-none
  if pace then redis.call('ZREM', log, pace) end
  if n <= FEW then return end
  redis.call('ZADD', log, -1, 'm' .. fmt(tick) .. ':' .. fmt(math.max(paid, t) + math.min(n * COST, PAUSE)))
end
`

// luaNumbers puts the format of the log, its bound, and the pace of messages into the scripts' text.
var luaNumbers = strings.NewReplacer("FORMAT", strconv.Itoa(changelog.Format),
	"MOST", strconv.Itoa(changelog.MaxScopes), "LEAST", strconv.Itoa(changelog.MinScopes), "BYTES", strconv.Itoa(changelog.BytesPerScope),
	"COST", micros(changelog.MessageCost), "BURST", micros(changelog.MessageBurst), "PAUSE", micros(changelog.LongestPause),
	"FEW", strconv.Itoa(changelog.FewReceivers),
	"PUBLISHED", strconv.Itoa(changelog.MaxPublished), "SEVERAL", strconv.Itoa(changelog.MaxSeveral))

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }

var (
	// scriptAppend: KEYS log; ARGV channel, new incarnation, known position,
	// retention µs, all, body, most changes to forget, scopes... The known position is
	// checked first: a log that ends before the position that the caller has applied lost
	// history. A change is small, and must be performed even when memory is full. If it is the
	// first whose message has to wait, it returns how long, in µs: the caller is to call scriptTell then. If there are
	// changes between the known position and this one, it returns a message of them.
	scriptAppend = newPublishing("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog+luaRenew+luaLags+luaTrim+luaDeclare+luaPublish) + `
local log, t, forget, known = KEYS[1], (now()), tonumber(ARGV[7]), known_tick(ARGV[3])
local inc, last, _, pace = head(log, t)
-- guard: I6-append-to-short-log
if not inc or last < known then inc, last, pace = renew(log, ARGV[2], ARGV[3]) end
local more = forget > 0 and trim(log, t, forget, tonumber(ARGV[4]))
local tick = math.max(last + 1, t)
local score = fmt(tick)
if ARGV[5] == '1' then redis.call('ZADD', log, score, 'f') end
local seen = {}
for i = 8, #ARGV do
  redis.call('ZADD', log, score, ARGV[i])
  local kind = string.byte(ARGV[i])
  if kind == 119 then declare(log, string.sub(ARGV[i], 2)) end -- w
  if kind == 122 then -- z
    local lag = string.match(ARGV[i], '^z%w+') or ''
    if not seen[lag] then settle(log, lag) end
    seen[lag] = true
  end
end
local told, paid, wait = paced(pace, t, last)
if wait <= 0 then
  -- guard: several-are-told-together
  publish(log, ARGV[1], inc, pace, told, paid, t, tick, told == last and ARGV[6] or several(log, told, tick))
  wait = 0
elseif told < last then
  wait = 0 -- the process whose change waits first has it told
end
local missed = ''
-- guard: missed-of-the-same-log
if known < last and string.sub(ARGV[3], 1, 16) == inc then missed = message(inc, known, tick, several(log, known, tick)) end
return {inc, fmt(last), score, more and '1' or '0', wait > 0 and fmt(wait) or '0', missed}
`)

	// scriptTell: KEYS log; ARGV channel, position of a change of which the message had to wait, whether it waits no longer. It has a message
	// published of all changes that wait, unless one was since that change. It returns for how long, in µs, it has
	// to wait still.
	scriptTell = newPublishing("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog+luaPublish) + `
local log, t = KEYS[1], (now())
local inc, last, _, pace = head(log, t)
if not inc then return 0 end
local told, paid, wait = paced(pace, t, last)
if told >= tonumber(ARGV[2]) or told >= last then return 0 end
-- guard: closing-waits-for-no-pace
if wait > 0 and ARGV[3] == '0' then return wait end
publish(log, ARGV[1], inc, pace, told, paid, t, last, several(log, told, last))
return 0
`)

	// scriptTrim: KEYS log; ARGV most changes to forget, retention µs. It
	// returns whether there may be more.
	scriptTrim = newScript("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog+luaLags+luaTrim) + `
local t = now()
if not head(KEYS[1], t) then return 0 end
return trim(KEYS[1], t, tonumber(ARGV[1]), tonumber(ARGV[2])) and 1 or 0
`)

	// scriptRenew: KEYS log; ARGV new incarnation, known position, forked incarnation. A
	// store without a log believes no entry, so it must be performed even when memory is
	// full.
	scriptRenew = newScript("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog+luaRenew) + `
local inc, last = head(KEYS[1], (now()))
if not inc or last < known_tick(ARGV[2]) or inc == ARGV[3] then renew(KEYS[1], ARGV[1], ARGV[2]) end
return 1
`)

	// scriptAdmit: KEYS log; ARGV channel, history, whether the server went back. A server of
	// another history, or one that went back to older data, has begun to answer. It may have
	// lost writes to single keys, which are not in the log. So all declared namespaces change:
	// for another history once, since it is remembered; for a server that went back once for
	// each process that finds it, since two such times cannot be told apart. The scope 'b:'
	// names that server. Beyond 1,000 namespaces everything changes; beyond 1,000 histories
	// all are forgotten. The published message is empty, which makes every process read the
	// log.
	scriptAdmit = newPublishing("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog) + `
local log, history, t = KEYS[1], 'r' .. ARGV[2], (now())
local inc, last = head(log, t)
if not inc then return 0 end
-- guard: I6-rollback-changes-namespaces
if ARGV[3] == '0' then
  -- guard: I6-admit-history
  if redis.call('ZSCORE', log, history) then return 1 end
end
local scopes, histories = {}, {}
for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
  local kind = string.sub(m, 1, 1)
  -- guard: I6-declaration-of-all
  if kind == 'v' then scopes[#scopes + 1] = m == 'v*' and 'f' or 'n' .. string.sub(m, 2) end
  if kind == 'r' then histories[#histories + 1] = m end
end
if #histories >= 1000 then
  for _, m in ipairs(histories) do redis.call('ZREM', log, m) end
end
redis.call('ZADD', log, -1, history)
if #scopes == 0 then return 1 end
local score = fmt(math.max(last + 1, t))
if #scopes > 1000 then scopes = {'f'} end
if ARGV[3] == '1' then scopes[#scopes + 1] = 'b:' .. ARGV[2] end
for _, s in ipairs(scopes) do redis.call('ZADD', log, score, s) end
redis.call('PUBLISH', ARGV[1], '')
return 1
`)

	// scriptEnrol: KEYS log; ARGV mode, longest life of an entry in ms, for how long in
	// µs. It puts a store's options into the log, until a time that is the same for all
	// stores that enrol within a quarter of a minute. If stores of the other mode are open it
	// does not, and returns until when they are enrolled. After a clock was set back no
	// enrolment lasts longer than two minutes.
	scriptEnrol = newScript("#!lua flags=allow-oom\n" + luaNumbers.Replace(luaLog+luaLags+luaTrim) + `
local log, t = KEYS[1], (now())
local inc, _, marked = head(log, t)
if not inc then return {'', ''} end
local other = 0
for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
  local mode, _, till = stays(t, m)
  -- guard: I2-one-mode
  if mode and mode ~= ARGV[1] then other = math.max(other, till) end
  if not mode and string.match(m, '^o%a:%d+@%d+$') then redis.call('ZREM', log, m) end
end
if other > 0 then return {inc, fmt(other)} end
local till = math.ceil((t + tonumber(ARGV[3])) / 15000000) * 15000000
redis.call('ZADD', log, -1, 'o' .. ARGV[1] .. ':' .. ARGV[2] .. '@' .. fmt(till))
if not marked then redis.call('ZADD', log, -1, '` + luaNumbers.Replace("lFORMAT:1") + `') end
return {inc, ''}
`)

	// scriptDelta: KEYS log; ARGV since, incarnation, limit, whether to return the number
	// of commands, scopes... It only reads.
	scriptDelta = newScript(luaNumbers.Replace(luaLog) + luaServer + `
local log, since = KEYS[1], tonumber(ARGV[1])
local micros, t = now()
local role, history, offset, commands = server(ARGV[4] == '1')
local inc, tick = head(log, micros)
if not inc then return {role, history, t[1], t[2], offset, commands, ''} end
local floor = redis.call('ZSCORE', log, 'f') or '0'
local changes, over = {}, 0
if tick > since then
  local from, most = '(' .. fmt(since), tonumber(ARGV[3])
  if tonumber(floor) > since then most = most + 1 end -- its member is no change
  if redis.call('ZCOUNT', log, from, '+inf') > most then over = 1
  else changes = redis.call('ZRANGEBYSCORE', log, from, '+inf', 'WITHSCORES') end
end
local known, after, settles = {}, '', over == 1 or inc ~= ARGV[2]
for i = 5, #ARGV do
  known[i - 4] = redis.call('ZSCORE', log, ARGV[i]) or '0'
  settles = settles or string.byte(ARGV[i]) == 122 -- z
end
local lags = {}
if settles then
  for _, m in ipairs(redis.call('ZRANGEBYSCORE', log, -1, -1)) do
    if string.byte(m) == 122 then lags[#lags + 1] = m end
  end
end
if inc ~= ARGV[2] then
  local second = redis.call('ZRANGE', log, 1, 1)[1] or ''
  if string.sub(second, 1, 1) == 'k' then after = string.sub(second, 2) end
end
return {role, history, t[1], t[2], offset, commands, inc, fmt(tick), floor, over, changes, known, after, lags}
`)

	// scriptProbe: no keys. It returns the state of a server of a cluster: its own line of
	// CLUSTER NODES is empty if it does not take part in the cluster.
	scriptProbe = newScript(luaServer + `
local t = redis.call('TIME')
local role, history, offset, commands = server(true)
local state = string.match(redis.call('CLUSTER', 'INFO'), 'cluster_state:(%a+)')
local own = string.match(redis.call('CLUSTER', 'NODES'), '[^\n]*myself[^\n]*')
return {role, history, t[1], t[2], offset, commands, state or '', own or ''}
`)

	// scriptWrite: KEYS data, lease; ARGV token, value, its expiry in ms, unread, how
	// long leases last in ms, and the bounds of its Window or nothing.
	//
	// GETDEL reads the lease and ends it in one command, since most of a script's time is
	// spent in its commands. If another token holds the lease, SET puts it back. GETDEL does
	// not track the lease, as GET would: so its end causes no invalidation here.
	//
	// The first line makes the server refuse the script as a whole when memory is full. Without
	// it the server would look at its memory only before a SET, and not if the script has written
	// already: after the GETDEL, which takes no memory, the value would always be stored.
	//
	// The last EXISTS tracks the key again, since SET has ended the tracking, and tells
	// whether the value is there at all: see Written.Expired.
	scriptWrite = newScript(scriptWriteText)

	// scriptLease: KEYS data, lease; ARGV token, ttl ms, seen, any, the last byte of a first read. It reads the key in
	// any case, so that the key is tracked, and another process's lease, so that the end
	// of that lease causes an invalidation. A lease without an expiry was not written by a
	// store, and would block the key for ever: it is taken. A lease that lasts longer than
	// leases do was taken before the clock was set back: it is shortened.
	scriptLease = newScript(`
if ARGV[4] == '1' then redis.call('EXISTS', KEYS[1])
elseif ARGV[3] == '' then
  local there = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[5])
  if type(there) == 'string' and there ~= '' then return there end
else
  local seen = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[3] - 1)
  if type(seen) == 'string' and seen ~= '' and seen ~= ARGV[3] then return redis.call('GETRANGE', KEYS[1], 0, ARGV[5]) end
end
-- guard: I7-one-lease-by-script
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local holder, wait, most = redis.pcall('GET', KEYS[2]), redis.call('PTTL', KEYS[2]), tonumber(ARGV[2])
if holder == ARGV[1] then return 1 end
-- guard: R8-longest-lease
if wait > most and type(holder) == 'string' then
  redis.call('SET', KEYS[2], holder, 'PX', most)
  wait = most
end
if wait >= 0 then return -wait end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
`)
	// scriptExtend: KEYS lease; ARGV token, ttl ms.
	scriptExtend = newScript(luaHolder + `
if holder ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

	// scriptRelease: KEYS lease; ARGV token.
	scriptRelease = newScript(luaHolder + `
if holder ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

	// scriptDelete: KEYS data, lease; ARGV the bounds of its Window. It returns -1 outside of that. Deleting a key that does
	// not exist causes no invalidation, and a process may be loading it; so the key is created first. (The server does not
	// refuse that when memory is full: the script has written, by UNLINK, by then.)
	scriptDelete = newScript(luaOutside + `
-- guard: G5-late-delete
if outside(ARGV[1], ARGV[2]) then return -1 end
` + luaDelete)

	// scriptDiscard: KEYS data, lease; ARGV token.
	scriptDiscard = newScript(luaHolder + `
-- guard: R8-holder-discards
if holder ~= ARGV[1] then return 0 end
` + luaDelete)
)

// luaHolder gets which token has the lease, the last of the keys. What is no string is no lease; that the user may not ask for it
// is an error: otherwise no lease would be given up or renewed, and nothing would tell.
const luaHolder = `
local holder = redis.pcall('GET', KEYS[#KEYS])
-- guard: refused-get-of-lease-is-error
if type(holder) == 'table' and not string.find(holder.err, 'WRONGTYPE', 1, true) then return holder end
`

// writeCommand is what scriptPlace has another for.
const writeCommand = "redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])"

// scriptWriteText is the text of scriptWrite.
// guard: refuse-fill-in-full-memory
const scriptWriteText = "#!lua" + luaOutside + `
-- guard: I1-late-write
if ARGV[6] and outside(ARGV[6], ARGV[7]) then return 0 end
if ARGV[1] ~= '' then
  local held = redis.pcall('GETDEL', KEYS[2])
  -- guard: R8-fill-holds-lease
  if held ~= ARGV[1] then
    -- guard: R8-late-fill-keeps-other-lease
    if type(held) == 'string' then redis.call('SET', KEYS[2], held, 'PX', ARGV[5]) end
    -- guard: I8-fill-without-right
    if type(held) == 'table' and string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return held end
    return 0
  end
end
-- guard: R9-read-before-write
if ARGV[4] == '1' then redis.call('EXISTS', KEYS[1]) end
` + writeCommand + `
-- guard: R8-write-ends-lease
if ARGV[1] == '' then redis.call('DEL', KEYS[2]) end
-- guard: R9-expired-write
-- guard: R9-track-after-write
return 2 - redis.call('EXISTS', KEYS[1])
`

// luaOutside has a function that reports whether the server's clock is outside of a Window, whose bounds are in µs.
const luaOutside = `
local function outside(from, before)
  local t = redis.call('TIME')
  -- guard: G1-window-in-microseconds
  local now = t[1] * 1000000 + t[2]
  return now < tonumber(from) or now >= tonumber(before)
end
`

const luaDelete = `
local found = redis.call('UNLINK', KEYS[1])
if found == 0 then
  -- guard: I2-delete-of-missing-key
  redis.call('SET', KEYS[1], '', 'PX', 1000)
  redis.call('UNLINK', KEYS[1])
end
return found + redis.call('DEL', KEYS[2])
`
