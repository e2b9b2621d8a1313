"""In which order the rarer faults are induced.

Those of one act run at the same time; they do not share a server that one of them breaks.
"""

from __future__ import annotations

import rarer_admin as admin
import rarer_line as line
import rarer_process as process
import rarer_tables as tables
import rarer_upkeep as upkeep

ACTS = (
    (tables.TinyInserts, line.FewBad, line.RowsGone, line.RowsTwice, line.DeadTopicNarrow, tables.TableGone),
    (line.NewError, process.OtherConfig, process.NeverReady, process.BadFile, process.LoopStuck, line.NoCommits),
    (tables.BadGateway, process.MemoryFull, tables.ViewFails, tables.ViewSlow, tables.ManyParts, tables.NoGrant),
    (line.TopicGone, admin.NoAdmin, admin.TwoLead, admin.NobodyLeads, admin.Frozen, admin.Drifted),
    (admin.Deaf, admin.Unreached, admin.Unplanned, admin.Unverified, admin.Damaged, admin.Filling, admin.Forged),
    (line.TooSlow, upkeep.Halfway, upkeep.Altered, upkeep.Unerased, upkeep.Kept),
)
