-- push: add jobs, all or none. Idempotent by id; one live job per key.
--
-- ARGV[5]  topic whose next ring the caller wants to hear (see `arm`); "" for none
-- ARGV[6]  number of codes, then for each: digest, value
-- then     number of shapes, then for each what messages share: lane, priority, retries, delay, queue, runtime, key,
--          code, what was asked for, ctx (packed)
-- then     for each message: id and number of its shape, payload
--
-- Gives a digit per message (0 was there, 1 created, 2 its key is held), then the ids of those who hold the keys, then what `arm` gives.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: places.lua

local at = 6

local function argument()
  at = at + 1
  return ARGV[at - 1]
end

for _ = 1, tonumber(argument()) do
  local digest, value = argument(), argument()
  if call('HSETNX', CODE .. digest, 'b', value) == 1 then
    local token = token_of(value)
    if token then
      call('PERSIST', BLOB .. token)
      call('HSET', CODE .. digest, 't', token)
    end
  else
    discard(value)
  end
  refer(digest, 0, 0)
end

local shapes = {}
for n = 1, tonumber(argument()) do
  local shape = {}
  shape.lane, shape.priority, shape.retries, shape.delay,
    shape.queue, shape.runtime, shape.key, shape.code, shape.asked, shape.ctx =
    parse('<Bi4I4dI4c0I4c0I4c0I4c0I4c0I4c0', argument())
  shapes[n] = shape
end

-- One push of many shares all but ids and payloads: what is the same is made once.
local count = (#ARGV - at + 1) / 2
local place = call('INCRBY', NS .. 'places', count) - count
local flags, holders = {}, {}

for n = 1, count do
  local word, payload = argument(), argument()
  local id, shape = string.sub(word, 1, 32), shapes[tonumber(string.sub(word, 33))]
  local holder = shape.key ~= '' and call('EXISTS', JOB .. id) == 0 and call('HGET', NS .. 'keys', shape.key)
  if holder then
    flags[n] = '2'
    holders[#holders + 1] = holder
    discard(payload)
  elseif call('HSETNX', JOB .. id, 'p', payload) == 0 then
    flags[n] = '0'
    discard(payload)
  else
    flags[n] = '1'
    local job = {
      state = PENDING, stop = 0, lane = shape.lane, starts = 0, refunds = 0, priority = shape.priority,
      retries = shape.retries, created = now, due = shape.delay > 0 and now + shape.delay or -1, started = -1,
      finished = -1, place = place + n, ended = 0, worker = '', queue = shape.queue, runtime = shape.runtime,
      key = shape.key, code = shape.code,
    }
    local fields = {'v', written(job), 'm', shape.asked}
    if shape.ctx ~= '{}' then
      fields[5], fields[6] = 'x', shape.ctx
    end
    local blobs = adopt(nil, 'p', payload)
    if blobs then
      fields[#fields + 1], fields[#fields + 2] = 'b', blobs
    end
    call('HSET', JOB .. id, unpack(fields))
    enter(listed_in(job), job.place, id)
    enter_line(id, job)
    if job.key ~= '' then
      call('HSET', NS .. 'keys', job.key, id)
    end
    if not shape.used then
      shape.used = true
      call('HSETNX', NS .. 'queues', shape.queue, '0')
    end
    refer(shape.code, 1, 1)
  end
end

flush()
settle_code()
ring(WORK)
local rings = ARGV[5] ~= '' and arm(ARGV[5]) or ''
return answer(table.concat(flags) .. table.concat(holders) .. rings)
