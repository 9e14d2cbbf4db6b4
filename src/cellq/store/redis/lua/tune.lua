-- tune: pause a queue, or let it go on; limit how many of its jobs run at once.
--
-- ARGV[5]  queue, ARGV[6] "1" to pause it, "0" to resume, ARGV[7] its limit, "0" for none; "" leaves it as it is
-- include: call.lua

local known = call('HGET', NS .. 'queues', ARGV[5]) or '0 0\n'
local paused, limit, lines = string.match(known, '^(%d) (%d+)(.*)$')
local new = ARGV[7] ~= '' and ARGV[7] or limit
call('HSET', NS .. 'queues', ARGV[5], (ARGV[6] ~= '' and ARGV[6] or paused) .. ' ' .. new .. lines)
if (limit == '0') ~= (new == '0') then
  call('HINCRBY', NS .. 'numbers', 'limits', new == '0' and -1 or 1)
end
ring(NEWS, WORK)
return answer('')
