-- change: cancel, retry or delete jobs.
--
-- ARGV[5]  what to do, then the ids
--
-- Gives a digit per job: 0 done, 1 asked, 2 already, 3 refused, 4 unknown.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: places.lua
-- include: ending.lua

local DONE, ASKED, ALREADY, REFUSED, UNKNOWN = '0', '1', '2', '3', '4'

local said = again('change')
if said then
  return said
end
local changes = {}

function changes.cancel(id, job)
  if job.state == RUNNING then
    job.stop = 1
    save(id, job)
    ring(STOP, NEWS)
    return ASKED
  elseif job.state == PENDING then
    leave_line(id, job)
    to_end(id, job, CANCELLED)
    save(id, job)
    local values = call('HMGET', JOB .. id, 'b', 'g')
    fade(id, values[1], values[2])
    return DONE
  end
  return job.state == CANCELLED and ALREADY or REFUSED
end

function changes.retry(id, job)
  if job.state == PENDING then
    return ALREADY
  elseif job.state == RUNNING or (job.key ~= '' and call('HEXISTS', NS .. 'keys', job.key) == 1) then
    return REFUSED
  end
  leave(NS .. 'ended:' .. STATES[job.state], id .. job.queue)
  job.refunds, job.stop, job.started, job.finished, job.ended = job.starts, 0, -1, -1, 0
  to_pending(id, job, -1)
  local values = call('HMGET', JOB .. id, 'b', 'g')
  call('HSET', JOB .. id, 'v', written(job))
  call('HDEL', JOB .. id, 'o', 'f', 'r', 'e')
  if values[1] then
    local blobs = adopt(adopt(values[1], 'r'), 'e')
    each_blob(blobs, 'PERSIST')
    call('HSET', JOB .. id, 'b', blobs)
  end
  if values[2] then
    local heard = parse('<I8', values[2])
    call('HSET', JOB .. id, 'g', pack('<I8I8I8I8', heard, heard, 0, 0)) -- the log goes on behind its old end
    call('UNLINK', LOG .. id)
  end
  call('PERSIST', JOB .. id)
  if job.key ~= '' then
    call('HSET', NS .. 'keys', job.key, id)
  end
  refer(job.code, 1, 0)
  return DONE
end

function changes.delete(id, job)
  if job.state == PENDING or job.state == RUNNING then
    return REFUSED
  end
  remove(id, job)
  return DONE
end

local answers, change = {}, changes[ARGV[5]]
for n = 6, #ARGV do
  local job = find_job(ARGV[n])
  answers[#answers + 1] = job and change(ARGV[n], job) or UNKNOWN
end
settle()
return answer(table.concat(answers), 'change')
