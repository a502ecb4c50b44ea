/*
 * AMD Secure Processor: failures to be injected, and counters of commands
 *
 * For tests: the properties "fail" and "commands" of the device. No hardware
 * has them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "amd-psp-fw.h"
#include "qapi/error.h"
#include "qemu/cutils.h"

bool psp_inject(PspCall *c, unsigned *status)
{
    GArray *fail = c->s->fail;
    bool hit = false;

    for (guint i = 0; i < fail->len; ) {
        PspFail *f = &g_array_index(fail, PspFail, i);

        if (f->cmd == c->cmd && --f->nth == 0) {
            *status = f->status;
            hit = true;
            g_array_remove_index(fail, i);
        } else {
            i++;
        }
    }
    return hit;
}

static bool parse_fail(const char *text, PspFail *f, Error **errp)
{
    g_auto(GStrv) part = g_strsplit(text, ":", -1);
    const PspCommand *cmd = NULL;
    uint64_t nth, status;

    if (g_strv_length(part) != 3) {
        error_setg(errp, "amd-psp: fail has \"%s\", expected COMMAND:N:STATUS "
                   "as in SNP_LAUNCH_UPDATE:3:0x16", text);
        return false;
    }
    for (unsigned i = 0; (cmd = psp_command_at(i)); i++) {
        if (!strcmp(cmd->name, part[0])) {
            break;
        }
    }
    if (!cmd) {
        error_setg(errp, "amd-psp: fail has command \"%s\", expected a name "
                   "such as LAUNCH_FINISH or SNP_PAGE_RECLAIM", part[0]);
        return false;
    }
    if (qemu_strtou64(part[1], NULL, 0, &nth) || nth < 1 ||
        nth > UINT32_MAX) {
        error_setg(errp, "amd-psp: fail has \"%s\" for the N of %s, expected a "
                   "number from 1 on", part[1], part[0]);
        return false;
    }
    if (qemu_strtou64(part[2], NULL, 0, &status) || status < 1 ||
        status > UINT16_MAX) {
        error_setg(errp, "amd-psp: fail has status \"%s\" for %s, expected a "
                   "number from 1 to 0xffff", part[2], part[0]);
        return false;
    }
    f->cmd = cmd;
    f->nth = nth;
    f->status = status;
    return true;
}

bool psp_fw_set_fail(AmdPspState *s, const char *spec, Error **errp)
{
    g_auto(GStrv) item = g_strsplit(spec, ",", -1);
    GArray *fail = g_array_new(false, false, sizeof(PspFail));

    for (int i = 0; item[i]; i++) {
        PspFail f;

        if (!parse_fail(item[i], &f, errp)) {
            g_array_free(fail, true);
            return false;
        }
        g_array_append_val(fail, f);
    }
    g_array_free(s->fail, true);
    s->fail = fail;
    return true;
}

char *psp_fw_get_fail(AmdPspState *s)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < s->fail->len; i++) {
        PspFail *f = &g_array_index(s->fail, PspFail, i);

        g_string_append_printf(text, "%s%s:%u:0x%x", i ? "," : "",
                               f->cmd->name, f->nth, f->status);
    }
    return g_string_free(text, false);
}

char *psp_fw_counters(AmdPspState *s)
{
    GString *text = g_string_new(NULL);
    const PspCommand *cmd;

    for (unsigned i = 0; (cmd = psp_command_at(i)); i++) {
        PspCounter *n = &s->counter[cmd->id];

        if (n->done) {
            g_string_append_printf(text, "%s%s:%" PRIu64 ":%" PRIu64 ":%"
                                   PRIu64, text->len ? "," : "", cmd->name,
                                   n->done, n->refused, n->injected);
        }
    }
    return g_string_free(text, false);
}
