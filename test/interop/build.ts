/** `npm run build:interop`: builds the programs, or says in one line each why the tests with it will be skipped. Fails if one does not compile. */
import { goProgram } from './go-program.ts'

for (const [name, whose] of [
  ['cilium', "Cilium's packages"],
  ['hbone', "Istio's HBONE package"],
  ['spiffe', "SPIFFE's own client"],
  ['static', 'a static program'],
] as const) {
  try {
    const why = goProgram(name).build()
    if (why !== undefined) console.log(`the tests with ${whose} are skipped: ${why}`)
  } catch {
    console.error(`the program of the tests with ${whose} does not compile: see above`)
    process.exitCode = 1
  }
}
