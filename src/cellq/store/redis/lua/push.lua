-- push: add jobs, all or none. Idempotent by id; one live job per key.
--
-- ARGV[5]  topic whose next ring the caller wants to hear (see `arm`); "" for none
-- ARGV[6]  number of codes, then for each: digest, value
-- then     number of shapes, then for each what messages share: lane, priority, retries, delay, expires (-1: never),
--          queue, runtime, key, code, limit, what was asked for, ctx, ids of jobs that it is to run after (packed)
-- then     for each message: id and number of its shape, with ":" and the ids of its inputs behind; payload
--
-- Gives a digit per message (0 was there, 1 created, 2 its key is held), then the ids of those who hold the keys, then
-- what `arm` gives.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: family.lua
-- include: fading.lua

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
  elseif call('HGET', CODE .. digest, 'b') ~= value then -- else this very call was made before, and its answer lost
    discard(value)
  end
  refer(digest, 0, 0)
end

local shapes = {}
for n = 1, tonumber(argument()) do
  local shape = {}
  shape.lane, shape.priority, shape.retries, shape.delay, shape.expires,
    shape.queue, shape.runtime, shape.key, shape.code, shape.limit, shape.asked, shape.ctx, shape.after =
    parse('<Bi4I4ddI4c0I4c0I4c0I4c0I4c0I4c0I4c0I4c0', argument())
  shapes[n] = shape
end

-- One push of many shares all but ids and payloads: what is the same is made once.
local count = (#ARGV - at + 1) / 2
local place = call('HINCRBY', NS .. 'numbers', 'places', count) - count
local flags, holders, known = {}, {}, {}

-- A new job waits for those of its parents that have not completed. `known` keeps what was read about them.
-- Gives 1 when there are any; and why it will never start: facts, for which others have the words.
local function join(id, place, words)
  local named, open, facts = {}, {}, nil
  for parent in string.gmatch(words, string.rep('%x', 32)) do
    local job = known[parent] or find_job(parent)
    known[parent] = job
    if not named[parent] and not (job and job.state == COMPLETED) then
      open[#open + 1] = #open
      open[#open + 1] = parent
      if job and job.state < COMPLETED then
        if job.children == 0 then
          job.children = 1
          save(parent, job)
        end
        enter(CHILDREN .. parent, place, id)
      else
        facts = facts or cjson.encode({parent = parent, state = job and job.state})
        call('ZADD', CHILDREN .. parent, place, id)
        if keep then
          call('EXPIRE', CHILDREN .. parent, math.ceil(keep) + GRACE)
        end
      end
    end
    named[parent] = true
  end
  for start = 1, #open, SLICE do
    call('ZADD', PARENTS .. id, unpack(open, start, math.min(start + SLICE - 1, #open)))
  end
  return #open > 0 and 1 or 0, facts
end

-- The first job of a shape: those after it differ in their place, and in whether they wait.
local function first_of(shape)
  open_line(shape.lane, shape.queue, shape.runtime)
  shape.job = {
    state = PENDING, stop = 0, lane = shape.lane, waits = 0, children = 0, starts = 0, refunds = 0,
    priority = shape.priority, retries = shape.retries, created = now,
    due = shape.delay > 0 and now + shape.delay or -1, expires = shape.expires >= 0 and now + shape.expires or -1,
    started = -1, finished = -1, place = 0, ended = 0, worker = '', queue = shape.queue, runtime = shape.runtime,
    key = shape.key, code = shape.code, limit = shape.limit,
  }
  return shape.job
end

for n = 1, count do
  local word, payload = argument(), argument()
  local id, rest, inputs = string.sub(word, 1, 32), string.sub(word, 33), ''
  local shape = shapes[tonumber(rest)]
  if not shape then
    rest, inputs = string.match(rest, '^(%d+):(.*)$')
    shape = shapes[tonumber(rest)]
  end
  local holder = shape.key ~= '' and call('EXISTS', JOB .. id) == 0 and call('HGET', NS .. 'keys', shape.key)
  if holder then
    flags[n] = '2'
    holders[#holders + 1] = holder
    discard(payload)
  elseif call('HSETNX', JOB .. id, 'p', payload) == 0 then
    flags[n] = '0'
    if call('HGET', JOB .. id, 'p') ~= payload then
      discard(payload)
    end
  else
    flags[n] = '1'
    local job = shape.job or first_of(shape)
    job.place, job.waits = place + n, 0
    local fields, never = {'m', shape.asked}, nil
    if shape.ctx ~= '{}' then
      fields[3], fields[4] = 'x', shape.ctx
    end
    local blobs = adopt(nil, 'p', payload)
    if blobs then
      fields[#fields + 1], fields[#fields + 2] = 'b', blobs
    end
    if inputs ~= '' then
      fields[#fields + 1], fields[#fields + 2] = 'i', inputs
    end
    if inputs ~= '' or shape.after ~= '' then
      job.waits, never = join(id, job.place, shape.after .. inputs)
    end
    refer(shape.code, never and 0 or 1, 1)
    if never then
      shape.job = nil -- the next one of its shape is not to be like this one
      job.state, job.finished, job.due, job.expires = CANCELLED, now, -1, -1
      job.ended = call('HINCRBY', NS .. 'numbers', 'endings', 1)
      enter(NS .. 'ended:cancelled', job.ended, id .. job.queue)
      fields[#fields + 1], fields[#fields + 2] = 'f', never
      ring(NEWS, ENDED)
    end
    enter(listed_in(job), job.place, id)
    if not never then
      enter_line(id, job)
      if job.expires >= 0 then
        enter(NS .. 'expiring', exact(job.expires), rank(id, job))
      end
      if job.key ~= '' then
        call('HSET', NS .. 'keys', job.key, id)
      end
    end
    call('HSET', JOB .. id, 'v', written(job), unpack(fields))
    if never then
      fade(id, job, blobs)
    end
  end
end

flush()
settle_code()
ring(WORK)
local rings = ARGV[5] ~= '' and arm(ARGV[5]) or ''
return answer(table.concat(flags) .. table.concat(holders) .. rings)
