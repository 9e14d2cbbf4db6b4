-- finish: end attempts. State, result, failure and error are written together; a stale lease writes nothing.
--
-- For each outcome, from ARGV[5] on: how it ended, which values follow, attempt, delay (packed), and id;
-- then those of result, failure, error and ctx that there are.
-- Endings: 2 completed, 3 failed, 4 cancelled, 5 again after the delay, 6 released.
--
-- Gives a digit per outcome: 1 taken, 0 its lease is stale.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: family.lua
-- include: fading.lua
-- include: ending.lua

local AGAIN, RELEASED = 5, 6
local PARTS = {'r', 'f', 'e', 'x'}

local said = again('finish')
if said then
  return said
end
local accepted, at = {}, 5

-- In a first attempt there is nothing to be removed.
local function write(id, job, set, field, value)
  if value then
    set[#set + 1], set[#set + 2] = field, value
  elseif job.starts > 1 then
    call('HDEL', JOB .. id, field)
  end
end

local function finish(id, ending, delay, job, parts, blobs, has_log)
  local set, kept, ends = {}, blobs, false
  if ending == RELEASED and job.stop == 0 then
    job.refunds = job.refunds + 1
    to_pending(id, job, delay > 0 and now + delay or -1)
    discard(parts.r)
    discard(parts.e)
  else
    write(id, job, set, 'f', parts.f)
    write(id, job, set, 'e', parts.e)
    kept = adopt(kept, 'e', parts.e)
    if ending == AGAIN and job.stop == 0 then
      to_pending(id, job, delay > 0 and now + delay or -1)
      discard(parts.r)
    else
      write(id, job, set, 'r', parts.r)
      kept = adopt(kept, 'r', parts.r)
      to_end(id, job, ending >= AGAIN and CANCELLED or ending)
      ends = true
    end
  end
  if parts.x then
    write(id, job, set, 'x', parts.x)
  end
  if kept ~= blobs then
    write(id, job, set, 'b', kept)
  end
  write(id, job, set, 'v', written(job))
  call('HSET', JOB .. id, unpack(set))
  if ends then
    fade(id, job, kept, has_log)
  end
end

while at <= #ARGV do
  local ending, flags, attempt, delay = parse('<BBI4d', ARGV[at])
  local id, parts = string.sub(ARGV[at], 15), {}
  at = at + 1
  for n = 1, 4 do
    if flags % 2 == 1 then
      parts[PARTS[n]] = ARGV[at]
      at = at + 1
    end
    flags = math.floor(flags / 2)
  end
  local values = call('HMGET', JOB .. id, 'v', 'b', 'g')
  local job = values[1] and read(values[1])
  if job and job.state == RUNNING and job.starts == attempt then
    accepted[#accepted + 1] = '1'
    finish(id, ending, delay, job, parts, values[2], values[3])
  else
    accepted[#accepted + 1] = '0'
    discard(parts.r)
    discard(parts.e)
  end
end
settle()
return answer(table.concat(accepted), 'finish')
