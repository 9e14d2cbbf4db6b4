-- tail: events behind a place of a job's log.
--
-- ARGV[5]  id, ARGV[6] the place, ARGV[7] how many at most
--
-- Gives nothing for an unknown job, else the place of the first event, bytes dropped, and the events, packed.
-- include: call.lua

local values = call('HMGET', JOB .. ARGV[5], 'v', 'g')
if not values[1] then
  return {}
elseif not values[2] then
  return {0, 0}
end
local _, base, _, dropped = parse('<I8I8I8I8', values[2])
-- Redis 7 writes larger numbers with an exponent, and then refuses to read them.
local start = math.min(math.max(tonumber(ARGV[6]) - base, 0), 2 ^ 52)
local events = call('LRANGE', LOG .. ARGV[5], start, start + tonumber(ARGV[7]) - 1)
table.insert(events, 1, base + start + 1)
table.insert(events, 2, dropped)
return events
