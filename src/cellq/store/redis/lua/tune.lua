-- tune: pause a queue, or let it go on.
--
-- ARGV[5]  queue, ARGV[6] "1" to pause it, "0" to resume
-- include: call.lua

call('HSET', NS .. 'queues', ARGV[5], ARGV[6])
ring(NEWS)
if ARGV[6] == '0' then
  ring(WORK)
end
return answer('')
