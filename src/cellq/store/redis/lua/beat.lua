-- beat: register a worker, renew what it holds, tell what it has lost and what it is asked to stop.
--
-- ARGV[5]  worker, ARGV[6] its lease in seconds (0 signs it off), ARGV[7] who it is (JSON: host, pid, …)
-- then     its leases: attempt (packed) and id
--
-- Gives a digit per lease: 0 held, 1 lost, 2 to be stopped.
-- include: call.lua
-- include: record.lua
-- include: workers.lua

local id, lease = ARGV[5], tonumber(ARGV[6])
local known = find_worker(id)
if lease > 0 then
  local worker = {lease = lease, beat = now, info = ARGV[7]}
  if not known or known.lease <= 0 then
    worker.judges = 0
    ring(NEWS)
  else
    worker.judges = silent(known) and now + lease / 3 or known.judges
  end
  save_worker(id, worker)
elseif known then
  known.lease = 0
  save_worker(id, known)
  ring(WORK, NEWS)
end

local standing = {}
for n = 8, #ARGV do
  local job = find_job(string.sub(ARGV[n], 5))
  if not job or job.state ~= RUNNING or job.starts ~= parse('<I4', ARGV[n]) then
    standing[#standing + 1] = '1'
  else
    standing[#standing + 1] = job.stop == 1 and '2' or '0'
  end
end
return answer(table.concat(standing))
