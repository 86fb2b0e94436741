-- The ledger in Redis: one hash, one script, one call for each thing that is done with it.
--
-- KEYS[1]  the hash, with these fields:
--   server, until          the run id of the server it was rebuilt on, and up to when it is open
--   writer, mark, begun    who keeps it, the LIST that is judged by, and when that began
--   h/UID                  a holder: STATE/QUEUE/NAMESPACE
--   r/UID                  since when it is only reserved, and as what: MS/NAMESPACE/NAME
--   n/NAMESPACE/NAME       the UID that is only reserved under that name
--   c/QUEUE/NAMESPACE/STATE  how many there are; with no namespace, in the whole queue
--   s/QUEUE                the namespaces that have any in it: NAMESPACE/NAMESPACE/
-- ARGV[1]  what to do; its arguments come after the first three
-- ARGV[2]  until when, in ms of this server's clock: a call that lay somewhere does nothing
-- ARGV[3]  the time in ms by which reservations are dated; empty: this server's
--
-- Every answer begins with the server's time in ms and a word.

local KEY, STATES = KEYS[1], { 'running', 'waiting', 'parked' }
local FIRST = 4 -- argument of what is asked for
local DAY = 86400000
local CHUNK = 1000

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now = tonumber(ARGV[3]) or clock
-- A server that was started again, or another one that took over, may know less than it should.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')

if clock > tonumber(ARGV[2]) then
  return { clock, 'late' }
end

local function get(field)
  return redis.call('HGET', KEY, field)
end

local function is_open()
  return get('server') == server and clock <= (tonumber(get('until')) or 0)
end

local function closed()
  redis.call('PEXPIRE', KEY, DAY) -- a write: a replica says here that it is one
  return { clock, 'closed' }
end

-- Counting ---------------------------------------------------------------------------------------

local function count_field(queue, namespace, state)
  return 'c/' .. queue .. '/' .. namespace .. '/' .. state
end

local function parse(holder)
  return string.match(holder, '^(%a+)/([^/]*)/(.*)$')
end

local function counts(queue, namespace)
  local fields = {}
  for i, state in ipairs(STATES) do
    fields[i] = count_field(queue, namespace, state)
  end
  local found = redis.call('HMGET', KEY, unpack(fields))
  return { tonumber(found[1]) or 0, tonumber(found[2]) or 0, tonumber(found[3]) or 0, 0 }
end

local function add(field, amount)
  if redis.call('HINCRBY', KEY, field, amount) == 0 then
    redis.call('HDEL', KEY, field)
  end
end

local function empty(of)
  return of[1] + of[2] + of[3] == 0
end

local function count(holder, amount)
  local state, queue, namespace = parse(holder)
  local before = empty(counts(queue, namespace))
  add(count_field(queue, namespace, state), amount)
  add(count_field(queue, '', state), amount)
  if before then
    redis.call('HSET', KEY, 's/' .. queue, (get('s/' .. queue) or '') .. namespace .. '/')
  elseif empty(counts(queue, namespace)) then
    local all = '/' .. get('s/' .. queue)
    local from, to = string.find(all, '/' .. namespace .. '/', 1, true)
    all = string.sub(all, 2, from) .. string.sub(all, to + 1)
    if all == '' then
      redis.call('HDEL', KEY, 's/' .. queue)
    else
      redis.call('HSET', KEY, 's/' .. queue, all)
    end
  end
end

-- Holders ----------------------------------------------------------------------------------------

local function drop(uid)
  local reserved, holder = get('r/' .. uid), get('h/' .. uid)
  if reserved then
    local name = string.match(reserved, '^%d+/(.*)$')
    redis.call('HDEL', KEY, 'r/' .. uid, 'n/' .. name)
  end
  if holder then
    redis.call('HDEL', KEY, 'h/' .. uid)
    count(holder, -1)
  end
end

local function put(uid, holder)
  if get('h/' .. uid) == holder and not get('r/' .. uid) then
    return
  end
  drop(uid)
  redis.call('HSET', KEY, 'h/' .. uid, holder)
  count(holder, 1)
end

-- Room -------------------------------------------------------------------------------------------

local function beyond(share, of)
  return share and math.max(0, of[2] - math.max(0, share - of[1])) or 0
end

local function whole(queue, share)
  local all = counts(queue, '')
  if share then
    for namespace in string.gmatch(get('s/' .. queue) or '', '([^/]*)/') do
      all[4] = all[4] + beyond(share, counts(queue, namespace))
    end
  end
  return all
end

local function full(of, running, queued, held, parked)
  local starting = math.min(held and 0 or math.max(0, running - of[1]), of[2] - of[4])
  local slot_is_free = not parked and not held and of[1] + starting < running
  return not slot_is_free and of[2] - starting + of[3] >= queued
end

-- What is asked for ------------------------------------------------------------------------------

local ask = {}

function ask.reserve(uid, queue, namespace, state, name, dry_run, limits)
  if not is_open() then
    return closed()
  end
  local running, queued, own_running, own_queued, held =
    string.match(limits, '^(%d+) (%d+) (%d*) (%d*) (%d)$')
  running, queued, held = tonumber(running), tonumber(queued), held == '1'
  own_running, own_queued = tonumber(own_running), tonumber(own_queued)
  local parked, real, known = state == 'parked', dry_run == '', get('h/' .. uid)
  local named = namespace .. '/' .. name
  local before = name ~= '' and real and not known and get('n/' .. named)
  if before then
    drop(before)
  end
  local all, part = whole(queue, own_running), counts(queue, namespace)
  if known then
    return { clock, 'admitted', all, part }
  end
  local barred = beyond(own_running, { part[1], part[2] + 1 }) > 0
  if full(all, running, queued, held, parked or barred) then
    return { clock, 'full', all, part }
  end
  if own_running or own_queued then
    if full(part, own_running or running, own_queued or queued, held, parked) then
      return { clock, 'namespace', all, part }
    end
  end
  if real then
    local holder = state .. '/' .. queue .. '/' .. namespace
    redis.call('HSET', KEY, 'h/' .. uid, holder, 'r/' .. uid, now .. '/' .. named)
    if name ~= '' then
      redis.call('HSET', KEY, 'n/' .. named, uid)
    end
    count(holder, 1)
  end
  return { clock, 'admitted', all, part }
end

function ask.occupancy(queue, share)
  if not is_open() then
    return closed()
  end
  return { clock, 'ok', whole(queue, tonumber(share)) }
end

-- Pairs of UID and holder; without a holder, it is over.
function ask.update(writer)
  if not is_open() then
    return closed()
  elseif get('writer') ~= writer then
    return { clock, 'superseded' }
  end
  for i = FIRST + 1, #ARGV, 2 do
    local uid, holder = ARGV[i], ARGV[i + 1]
    if holder == '' then
      drop(uid)
    else
      put(uid, holder)
    end
  end
  return { clock, 'ok' }
end

function ask.keep(writer, kept)
  if not is_open() then
    return closed()
  elseif get('writer') ~= writer then
    return { clock, 'superseded' }
  end
  redis.call('PEXPIRE', KEY, DAY)
  redis.call('HSET', KEY, 'until', clock + tonumber(kept))
  return { clock, 'ok' }
end

function ask.begin(writer, mark)
  redis.call('HSET', KEY, 'writer', writer, 'mark', mark, 'begun', now)
  redis.call('PEXPIRE', KEY, DAY)
  local before = get('server')
  if before and before ~= server then
    -- Dated by another clock, perhaps: let them wait anew.
    local all = redis.call('HGETALL', KEY)
    for i = 1, #all, 2 do
      if string.sub(all[i], 1, 2) == 'r/' then
        redis.call('HSET', KEY, all[i], now .. string.match(all[i + 1], '/.*$'))
      end
    end
  end
  return { clock, 'ok' }
end

local function tally(holders)
  local fields, seen = {}, {}
  for _, holder in pairs(holders) do
    local state, queue, namespace = parse(holder)
    for _, of in ipairs({ namespace, '' }) do
      local field = count_field(queue, of, state)
      fields[field] = (fields[field] or 0) + 1
    end
    local space = queue .. '/' .. namespace
    if not seen[space] then
      seen[space] = true
      fields['s/' .. queue] = (fields['s/' .. queue] or '') .. namespace .. '/'
    end
  end
  return fields
end

local function write(command, arguments)
  for i = 1, #arguments, CHUNK do
    redis.call(command, KEY, unpack(arguments, i, math.min(i + CHUNK - 1, #arguments)))
  end
end

-- Pairs of UID and holder: all that the LIST found. What is wrong is written anew, counts included.
function ask.reconcile(writer, mark, kept, create_timeout)
  if get('mark') ~= mark or get('writer') ~= writer then
    return { clock, get('mark') and 'superseded' or 'closed' }
  end
  local was_open, begun = is_open(), tonumber(get('begun'))
  local stored, before = {}, {}
  local all = redis.call('HGETALL', KEY)
  for i = 1, #all, 2 do
    if string.match(all[i], '^%l/') then
      stored[all[i]] = all[i + 1]
      if string.sub(all[i], 1, 2) == 'h/' then
        before[string.sub(all[i], 3)] = all[i + 1]
      end
    end
  end
  local after, fields = {}, {}
  local gone, unseen, missing, wrong = 0, 0, 0, 0
  for i = FIRST + 4, #ARGV, 2 do
    local uid, holder = ARGV[i], ARGV[i + 1]
    after[uid] = holder
    if before[uid] ~= holder then
      missing = missing + 1
    end
  end
  for uid, holder in pairs(before) do
    local reserved = stored['r/' .. uid]
    if after[uid] then
      reserved = nil
    elseif not reserved then
      gone = gone + 1
    else
      local since, named, name = string.match(reserved, '^(%d+)/([^/]*/(.*))$')
      if tonumber(since) + tonumber(create_timeout) > begun then
        after[uid], fields['r/' .. uid] = holder, reserved
        if name ~= '' then
          fields['n/' .. named] = uid
        end
      else
        unseen = unseen + 1
      end
    end
  end
  for field, number in pairs(tally(before)) do
    if tostring(number) ~= stored[field] and string.sub(field, 1, 2) == 'c/' then
      wrong = wrong + 1
    end
  end
  for field, value in pairs(tally(after)) do
    fields[field] = tostring(value)
  end
  for uid, holder in pairs(after) do
    fields['h/' .. uid] = holder
  end
  local stale, fresh = {}, {}
  for field in pairs(stored) do
    if fields[field] == nil then
      stale[#stale + 1] = field
    end
  end
  for field, value in pairs(fields) do
    if stored[field] ~= value then
      fresh[#fresh + 1] = field
      fresh[#fresh + 1] = value
    end
  end
  write('HDEL', stale)
  write('HSET', fresh)
  redis.call('PEXPIRE', KEY, DAY)
  redis.call('HSET', KEY, 'server', server, 'until', clock + tonumber(kept))
  return { clock, 'ok', was_open and 1 or 0, gone, unseen, missing, wrong }
end

return ask[ARGV[1]](unpack(ARGV, FIRST, FIRST + 6))
