/** docs/errors.md: the codes of errors and refusals, from `proxy/model/error.ts` and `proxy/model/refusal.ts`. */
import { type ErrorCode, errorCodes, severityOf } from '../../proxy/model/error.ts'
import { refusalCodes } from '../../proxy/model/refusal.ts'

export function renderErrors(): string {
  const codes = Object.entries(errorCodes) as [ErrorCode, string][]
  const errors = codes.map(
    ([code, meaning]) => `| \`${code}\` | ${severityOf({ code, where: '', message: '' })} | ${meaning} |`,
  )
  const refusals = Object.entries(refusalCodes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`)
  return `# Errors

Written by \`node scripts/reference.ts\` from \`proxy/model/error.ts\` and \`proxy/model/refusal.ts\`; do not edit it.

## Error codes

A message starts with a code, then the place, then what was found and what to do about it. A command that fails prints it and ends
with 1, or with 2 for \`USAGE\`. A problem of a running Starlane is in \`starlane status\`, in the log and in the metric
\`starlane_problems\`: an error is something that clients or operators rely on and that does not work, a warning something that is
reduced, suspect or will fail. [Troubleshooting](troubleshooting.md) goes from symptoms.

| code | as a problem | meaning |
|---|---|---|
${errors.join('\n')}

## Refusal codes

A flow that gets no backend is refused with a code: in the log (\`flow.refused\`), in \`starlane explain\` and in the metric
\`starlane_refusals_total\`. A plugin refuses under its own name, or the name that \`as\` gives it; these are Starlane's own, and no
plugin may be called so.

| code | meaning |
|---|---|
${refusals.join('\n')}
`
}
