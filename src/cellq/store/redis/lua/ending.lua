-- How a job ends, and how an ended one goes.

local endings

-- The job has ended. Its hash is saved by the caller, which may have more to write, and then must `fade` it.
local function to_end(id, job, state)
  move(id, job, state)
  endings = (endings or tonumber(call('GET', NS .. 'endings')) or 0) + 1
  job.finished, job.due, job.ended = now, -1, endings
  enter(NS .. 'ended:' .. STATES[state], job.ended, id .. job.queue)
  if job.key ~= '' and call('HGET', NS .. 'keys', job.key) == id then
    call('HDEL', NS .. 'keys', job.key)
  end
  refer(job.code, -1, 0)
  ring(NEWS, ENDED)
end

-- After the last change of a call.
local function settle()
  flush()
  settle_code()
  if endings then
    call('SET', NS .. 'endings', exact(endings))
  end
end

local function fade(id, blobs, has_log)
  if keep then
    local seconds = math.ceil(keep) + GRACE
    call('EXPIRE', JOB .. id, seconds)
    each_blob(blobs, 'EXPIRE', seconds)
    if has_log then
      call('EXPIRE', LOG .. id, seconds)
    end
  end
end

-- Remove an ended job with its log and its values.
local function remove(id, job)
  leave(listed_in(job), id)
  leave(NS .. 'ended:' .. STATES[job.state], id .. job.queue)
  each_blob(call('HGET', JOB .. id, 'b'), 'UNLINK')
  call('UNLINK', JOB .. id, LOG .. id)
  refer(job.code, 0, -1)
  ring(NEWS, ENDED)
end

