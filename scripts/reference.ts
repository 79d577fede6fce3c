// Writes docs/configuration.md. test/proxy/config/conf.test.ts fails when the file is not what this writes.
import { writeFileSync } from 'node:fs'
import { renderReference } from '../proxy/config/reference.ts'

writeFileSync(new URL('../docs/configuration.md', import.meta.url), renderReference())
