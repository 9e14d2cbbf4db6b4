-- get: jobs as they stand.
--
-- ARGV[5]  which values to add, as digits (see `row`), then the ids
--
-- Gives, packed, the time, then each job or nothing.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: rows.lua

local rows = {pack('<d', now)}
for n = 6, #ARGV do
  local found = row(ARGV[n], ARGV[5])
  rows[#rows + 1] = found and '1' .. found or '0'
end
return table.concat(rows)
