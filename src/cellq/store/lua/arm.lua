-- arm: somebody is about to sleep; the next ring of this topic is to be published.
--
-- ARGV[5]  topic
--
-- Gives how often it was rung so far: who knows of fewer rings need not sleep.
-- include: call.lua

call('HSET', NS .. 'armed', ARGV[5], '1')
return tonumber(call('HGET', NS .. 'rings', ARGV[5])) or 0
