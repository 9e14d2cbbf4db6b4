-- How a job ends, and what becomes of those that wait for it.

local endings, limits

local function close(id, job, state)
  if not endings then
    local numbers = call('HMGET', NS .. 'numbers', 'endings', 'limits')
    endings, limits = tonumber(numbers[1]) or 0, tonumber(numbers[2]) or 0
  end
  if job.state == RUNNING and limits > 0 then
    ring(WORK)
  end
  if job.expires >= 0 then
    leave(NS .. 'expiring', rank(id, job))
  end
  move(id, job, state)
  endings = endings + 1
  job.finished, job.due, job.expires, job.ended = now, -1, -1, endings
  enter(NS .. 'ended:' .. STATES[state], job.ended, id .. job.queue)
  if job.key ~= '' and call('HGET', NS .. 'keys', job.key) == id then
    call('HDEL', NS .. 'keys', job.key)
  end
  refer(job.code, -1, 0)
  ring(NEWS, ENDED)
end

-- A pending job ends: it is cancelled, for these facts.
local function give_up(id, job, facts)
  leave_line(id, job)
  close(id, job, CANCELLED)
  if facts then
    call('HSET', JOB .. id, 'v', written(job), 'f', facts)
  else
    save(id, job)
    call('HDEL', JOB .. id, 'f')
  end
  local values = call('HMGET', JOB .. id, 'b', 'g')
  fade(id, job, values[1], values[2])
end

-- A job has ended: its children may start, or end, and then theirs do: parents first, children by place.
local function tell_children(id, job)
  if job.children == 0 then
    return
  end
  local ended = {{id = id, job = job}}
  for _, parent in ipairs(ended) do -- which grows meanwhile
    local completed = parent.job.state == COMPLETED
    local facts = cjson.encode({parent = parent.id, state = parent.job.state})
    for _, child in ipairs(parent.job.children == 1 and call('ZRANGE', CHILDREN .. parent.id, 0, -1) or {}) do
      local waits = call(completed and 'ZREM' or 'ZSCORE', PARENTS .. child, parent.id)
      local job = waits and (not completed or call('EXISTS', PARENTS .. child) == 0) and find_job(child)
      if job and job.state == PENDING and completed then
        job.waits = 0
        enter_line(child, job)
        save(child, job)
        ring(WORK)
      elseif job and job.state == PENDING then
        give_up(child, job, facts)
        ended[#ended + 1] = {id = child, job = job}
      end
    end
  end
  if job.state == COMPLETED then
    call('UNLINK', CHILDREN .. id)
    job.children = 0
  end
end

-- The job has ended. Its hash is saved by the caller, which may have more to write, and then must `fade` it.
local function to_end(id, job, state)
  close(id, job, state)
  tell_children(id, job)
end

-- After the last change of a call.
local function settle()
  flush()
  settle_code()
  if endings then
    call('HSET', NS .. 'numbers', 'endings', exact(endings))
  end
end
