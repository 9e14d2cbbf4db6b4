-- report: append events to the logs of running jobs; the last progress wins.
--
-- ARGV[5]  bytes kept per log; then for each event: attempt (packed), id and kind; data
--
-- Gives a digit per event: 1 taken, 0 its lease is stale.
-- include: call.lua
-- include: record.lua

local said = again('report')
if said then
  return said
end
local cap, logs, order, taken = tonumber(ARGV[5]), {}, {}, {}

local function log_of(lease)
  local attempt, id = parse('<I4', lease), string.sub(lease, 5)
  local values = call('HMGET', JOB .. id, 'v', 'g')
  local job = values[1] and read(values[1])
  if not job or job.state ~= RUNNING or job.starts ~= attempt then
    return false
  end
  local log = {id = id, attempt = attempt, heard = 0, base = 0, logged = 0, dropped = 0, events = {}}
  if values[2] then
    log.heard, log.base, log.logged, log.dropped = parse('<I8I8I8I8', values[2])
  end
  order[#order + 1] = log
  return log
end

for n = 6, #ARGV, 2 do
  local lease, kind, data = string.sub(ARGV[n], 1, 36), string.sub(ARGV[n], 37), ARGV[n + 1]
  if logs[lease] == nil then
    logs[lease] = log_of(lease)
  end
  local log = logs[lease]
  taken[#taken + 1] = log and '1' or '0'
  if log then
    if kind == 'progress' then
      log.progress = data
    elseif kind ~= 'error' and log.logged + #data > cap then
      log.dropped = log.dropped + #data
    else
      log.logged, log.heard = log.logged + #data, log.heard + 1
      log.events[#log.events + 1] = pack('<I4dI4', log.attempt, now, #kind) .. kind .. data
    end
  end
end

for _, log in ipairs(order) do
  for start = 1, #log.events, SLICE do
    call('RPUSH', LOG .. log.id, unpack(log.events, start, math.min(start + SLICE - 1, #log.events)))
  end
  local fields = {'g', pack('<I8I8I8I8', log.heard, log.base, log.logged, log.dropped)}
  if log.progress then
    fields[3], fields[4] = 'o', log.progress
  end
  call('HSET', JOB .. log.id, unpack(fields))
  ring(NEWS)
end
return answer(table.concat(taken), 'report')
