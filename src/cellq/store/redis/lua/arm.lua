-- arm: somebody is about to sleep; the next ring of this topic is to be published.
--
-- ARGV[5]  topic
--
-- Gives how often it was rung so far.
-- include: call.lua

return arm(ARGV[5])
