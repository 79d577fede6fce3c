// Writes the pages of reference that come from the sources, and conf/starlane.schema.json. Tests fail when a file is not what this writes.
import { writeFileSync } from 'node:fs'
import { renderJsonSchema } from '../proxy/config/json-schema.ts'
import { renderReference } from '../proxy/config/reference.ts'
import { renderAnnotations } from './reference/annotations.ts'
import { renderCommands } from './reference/commands.ts'
import { renderErrors } from './reference/errors.ts'

/** By path, from the root of the repository. */
export const references: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/annotations.md': renderAnnotations,
  'docs/cli.md': renderCommands,
  'docs/configuration.md': renderReference,
  'docs/errors.md': renderErrors,
  'conf/starlane.schema.json': renderJsonSchema,
}

if (import.meta.main)
  for (const [path, render] of Object.entries(references))
    writeFileSync(new URL(`../${path}`, import.meta.url), await render())
