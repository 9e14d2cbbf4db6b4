-- change: cancel, retry or delete jobs.
--
-- ARGV[5]  what to do, then the ids
--
-- Gives a digit per job: 0 done, 1 asked, 2 already, 3 refused, 4 unknown.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: family.lua
-- include: fading.lua
-- include: ending.lua
-- include: removing.lua

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
    give_up(id, job)
    tell_children(id, job)
    return DONE
  end
  return job.state == CANCELLED and ALREADY or REFUSED
end

-- Which parents a job waits for that is to run again, and which no more; nil when one of them will not complete.
local function rejoin(id)
  local open, gone = {}, {}
  for _, parent in ipairs(call('ZRANGE', PARENTS .. id, 0, -1)) do
    local job = find_job(parent)
    if not call('ZSCORE', CHILDREN .. parent, id) or (job and job.state == COMPLETED) then
      gone[#gone + 1] = parent
    elseif job and job.state < COMPLETED then
      open[#open + 1] = {id = parent, job = job}
    else
      return nil
    end
  end
  return open, gone
end

function changes.retry(id, job)
  if job.state == PENDING then
    return ALREADY
  elseif job.state == RUNNING or (job.key ~= '' and call('HEXISTS', NS .. 'keys', job.key) == 1) then
    return REFUSED
  end
  if job.waits == 1 then
    local open, gone = rejoin(id)
    if not open then
      return REFUSED
    end
    for _, parent in ipairs(gone) do
      leave(PARENTS .. id, parent)
      leave(CHILDREN .. parent, id)
    end
    for _, parent in ipairs(open) do
      parent.job.children = 1
      save(parent.id, parent.job)
      call('PERSIST', CHILDREN .. parent.id)
    end
    call('PERSIST', PARENTS .. id)
    job.waits = #open > 0 and 1 or 0
  end
  if job.state == COMPLETED then
    call('UNLINK', CHILDREN .. id) -- what has completed once is waited for no more
  elseif job.children == 1 then
    call('PERSIST', CHILDREN .. id)
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
