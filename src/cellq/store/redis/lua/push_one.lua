-- push_one: does what `push` does, for one job that asks for nothing special, and whose values are small. Most jobs
-- are like that and come alone; what is general about `push` would take up more than half of the time.
--
-- ARGV[5]  topic whose next ring the caller wants to hear (see `arm`); "" for none
-- ARGV[6]  id, ARGV[7] payload, ARGV[8] its code
-- then     what many share: queue, lane, runtime, score in the line, digest of the code, what was asked for, and the
--          record of a pending job, but for the time and the place
--
-- Gives 0 when it was there, 1 when it was created, then what `arm` gives.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua

local topic, id, payload, code = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local queue, lane, runtime, score, digest, asked, record = unpack(ARGV, 9)
local created = call('HSETNX', JOB .. id, 'p', payload)
if created == 1 then
  local place = call('HINCRBY', NS .. 'numbers', 'places', 1)
  call('HSET', JOB .. id, 'v', filled(record, place), 'm', asked)
  open_line(lane, queue, runtime)
  call('ZADD', NS .. 'ready:' .. line_of(lane, queue, runtime), score, ranked(place, id))
  call('ZADD', NS .. 'jobs:pending:' .. queue, place, id)
  refer(digest, 1, 1)
  settle_code()
  ring(WORK)
end
if digest ~= '' and call('HEXISTS', CODE .. digest, 'b') == 0 then
  call('HSET', CODE .. digest, 'b', code)
end
return answer(created .. (topic ~= '' and arm(topic) or ''))
