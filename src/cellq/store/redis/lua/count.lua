-- count: the store in numbers.
--
-- Gives the time; then the number of queues, and for each: name, whether paused, its limit (0: none), jobs in each
-- state, when its oldest pending job was created ("" for none); then for each worker: id, record.
-- include: call.lua
-- include: record.lua
-- include: limits.lua
-- include: places.lua

local queues = call('HGETALL', NS .. 'queues')
local reply = {exact(now), #queues / 2}
for n = 1, #queues, 2 do
  local paused, limit = string.match(queues[n + 1], '^(%d) (%d+)')
  reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = queues[n], paused, limit
  for state = PENDING, CANCELLED do
    reply[#reply + 1] = call('ZCARD', NS .. 'jobs:' .. STATES[state] .. ':' .. queues[n])
  end
  local oldest = call('ZRANGE', NS .. 'jobs:pending:' .. queues[n], 0, 0)[1]
  reply[#reply + 1] = oldest and exact(find_job(oldest).created) or ''
end
for _, word in ipairs(call('HGETALL', NS .. 'workers')) do
  reply[#reply + 1] = word
end
return reply
