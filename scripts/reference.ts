// Writes docs/configuration.md and conf/starlane.schema.json. test/proxy/config/conf.test.ts fails when they are not what this writes.
import { writeFileSync } from 'node:fs'
import { renderJsonSchema } from '../proxy/config/json-schema.ts'
import { renderReference } from '../proxy/config/reference.ts'

writeFileSync(new URL('../docs/configuration.md', import.meta.url), renderReference())
writeFileSync(new URL('../conf/starlane.schema.json', import.meta.url), renderJsonSchema())
