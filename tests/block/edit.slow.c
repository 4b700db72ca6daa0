/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Many random edits under random requests. */
#include "tests/lib/edits.h"
#include "tests/lib/harness.h"

enum { SEEDS = 10, EDITS = 10000 };

static CO void test_many_random_edits(void)
{
    for (unsigned seed = 100; seed < 100 + SEEDS; seed++)
        random_edits(test_is_slowed() ? EDITS / 20 : test_share(EDITS), seed);
}

const Test tests[] = {
    { "/edit/many-random-edits-under-random-requests", test_many_random_edits },
    {}
};
