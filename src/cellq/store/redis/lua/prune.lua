-- prune: remove ended jobs past their keep, code that nobody refers to, and workers that have long been silent.
--
-- ARGV[5]  most jobs to remove, ARGV[6] seconds after which a silent worker is forgotten
-- then     for each state that is pruned: its digit, seconds its jobs are kept
--
-- Gives how many jobs were removed.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: family.lua
-- include: fading.lua
-- include: ending.lua
-- include: removing.lua
-- include: workers.lua

local limit, past = tonumber(ARGV[5]), {}
for n = 7, #ARGV, 2 do
  local state, before = tonumber(ARGV[n]), now - tonumber(ARGV[n + 1])
  local members = call('ZRANGE', NS .. 'ended:' .. STATES[state], 0, limit - 1, 'WITHSCORES')
  for m = 1, #members, 2 do
    local id = string.sub(members[m], 1, 32)
    -- Where nobody swept for long the hash has gone by itself; what is left of it is in the sets.
    local job = find_job(id) or {state = state, queue = string.sub(members[m], 33), code = '', finished = -1}
    if job.finished > before then
      break -- those that ended after it are to be kept, too
    end
    past[#past + 1] = {id = id, job = job, ended = tonumber(members[m + 1])}
  end
end
table.sort(past, function(one, two) return one.ended < two.ended end)
local removed = math.min(limit, #past)
for n = 1, removed do
  remove(past[n].id, past[n].job)
end
settle()

for _, digest in ipairs(call('SRANDMEMBER', NS .. 'idle', 1000)) do
  code_blob(CODE .. digest, 'UNLINK')
  call('UNLINK', CODE .. digest)
  call('SREM', NS .. 'idle', digest)
end

local jobs
for _, id in ipairs(call('HKEYS', NS .. 'workers')) do
  local worker = find_worker(id)
  if math.abs(now - worker.beat) > math.max(worker.lease, tonumber(ARGV[6])) then
    jobs = jobs or held()
    if not jobs[id] then
      forget_worker(id)
    end
  end
end
return answer(removed)
