#include "block/formats/qcow2/qcow2.h"
CO bool qcow2_bitmaps_open(Qcow2 *q, OpenFlags flags, GError **err){return true;}
CO bool qcow2_bitmaps_store(Qcow2 *q, GError **err){return true;}
void qcow2_bitmaps_free(Qcow2 *q){}
CO bool qcow2_bitmaps_info(Qcow2 *q, json_t *data, GError **err){return true;}
