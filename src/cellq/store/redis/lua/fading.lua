-- When ended jobs go by themselves, with all that is theirs.

local function fade(id, job, blobs, has_log)
  if keep then
    local seconds = math.ceil(keep) + GRACE
    call('EXPIRE', JOB .. id, seconds)
    each_blob(blobs, 'EXPIRE', seconds)
    if has_log then
      call('EXPIRE', LOG .. id, seconds)
    end
    if job.waits == 1 then
      call('EXPIRE', PARENTS .. id, seconds)
    end
    if job.children == 1 then
      call('EXPIRE', CHILDREN .. id, seconds)
    end
  end
end
