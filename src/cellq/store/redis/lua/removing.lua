-- How an ended job goes.

-- Remove an ended job with its log, its values and its edges.
local function remove(id, job)
  leave(listed_in(job), id)
  leave(NS .. 'ended:' .. STATES[job.state], id .. job.queue)
  each_blob(call('HGET', JOB .. id, 'b'), 'UNLINK')
  if job.waits == 1 then
    for _, parent in ipairs(call('ZRANGE', PARENTS .. id, 0, -1)) do
      leave(CHILDREN .. parent, id)
    end
  end
  call('UNLINK', JOB .. id, LOG .. id, PARENTS .. id)
  if job.state == COMPLETED then
    call('UNLINK', CHILDREN .. id)
  end
  refer(job.code, 0, -1)
  ring(NEWS, ENDED)
end
