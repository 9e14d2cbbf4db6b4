-- Jobs that wait for others. parents:<id> and children:<id> hold the same edges from both ends; an edge counts while
-- both have it. When a parent completes, its edges go. When it ends otherwise they stay, for the case that both are run
-- again; they go with the parent's children:<id> and the child's parents:<id>, which live as long as those jobs, or
-- (where the parent is not in the store) as long as the child.

local PARENTS, CHILDREN = NS .. 'parents:', NS .. 'children:'
