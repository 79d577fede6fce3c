/** `starlane demo`: the x-wing story on this machine alone, start to end. */
import { existsSync } from 'node:fs'
import { MeshError } from '../../model/error.ts'
import { createBoard } from './board.ts'
import type { Caller } from './caller.ts'
import { kubeconfigFile } from './kubernetes.ts'
import { deploymentFile, scaleDeployment } from './pods.ts'
import { demoClusters, demoFolder, openStage, type Stage } from './stage.ts'
import { createCaller, tell } from './story.ts'

interface Out {
  readonly isTTY?: boolean
  write(text: string): unknown
}

/** Returns the exit code: 0 only if every step showed what it should and no request failed. */
export async function demo(out: Out, options: { hold: boolean; kubernetes: boolean }): Promise<number> {
  out.write('Two clusters on this machine, one service: rebel-base. Starting pods and Starlane…\n')
  const stage = await openStage(options)
  const interrupted = interruption()
  try {
    for (const remark of stage.remarks) out.write(`note: ${remark}\n`)
    const ending = await play(out, stage, interrupted.promise)
    if (ending === true && options.hold) {
      out.write(invitation(stage, options.kubernetes))
      await Promise.race([interrupted.promise, stage.fallen])
    }
    return ending === true ? 0 : 1
  } finally {
    interrupted.dispose()
    await stage.close()
  }
}

type Ending = boolean | 'interrupted'

async function play(out: Out, stage: Stage, interrupted: Promise<'interrupted'>): Promise<Ending> {
  const caller = createCaller(stage)
  const board = createBoard(out, caller, stage.clusters)
  const ending = await Promise.race([tell({ caller, stage, board }), interrupted, stage.fallen]).finally(() => {
    board.close()
    return caller.stop()
  })
  out.write(summary(caller, ending))
  return ending
}

/** `starlane demo scale rebel-base --replicas=N --context cluster-2`, on a demo that is running. */
export async function scaleDemo(
  out: Out,
  options: { service: string; replicas: number; context: string },
): Promise<number> {
  const cluster = demoClusters(demoFolder()).find(({ name }) => name === options.context)
  if (!cluster)
    throw new MeshError('USAGE', `no cluster "${options.context}" in the demo; it has cluster-1 and cluster-2`)
  if (options.service !== 'rebel-base')
    throw new MeshError('USAGE', `no deployment "${options.service}" in the demo; it has rebel-base`)
  if (!existsSync(deploymentFile(cluster.folder)) || !existsSync(`${demoFolder()}/demo.json`)) {
    throw new MeshError('ADMIN_UNREACHABLE', 'no demo is running; start one with "starlane demo --hold"')
  }
  await scaleDeployment(cluster.folder, options.replicas)
  out.write(`deployment.apps/rebel-base scaled in ${cluster.name}\n`)
  return 0
}

function summary(caller: Caller, ending: Ending): string {
  const one = caller.answers.filter(answer => answer.cluster === 'Cluster-1').length
  const lines = [
    '',
    ending === 'interrupted'
      ? 'Interrupted.'
      : ending && caller.failures.length === 0
        ? 'The story held.'
        : 'The story did not hold.',
    `  requests sent  ${caller.sent}`,
    `  failed         ${caller.failures.length}`,
    `  by cluster-1   ${one}`,
    `  by cluster-2   ${caller.answers.length - one}`,
    ...[...new Set(caller.failures)].slice(0, 5).map(failure => `  failure: ${failure}`),
  ]
  return `${lines.join('\n')}\n`
}

function invitation({ folder, dns, admin, port }: Stage, kubernetes: boolean): string {
  const [dnsHost, dnsPort] = dns.split(':')
  const flag = admin === '127.0.0.1:9911' ? '' : ` --admin ${admin}`
  const scale = kubernetes
    ? `kubectl --kubeconfig ${kubeconfigFile(folder)} --context cluster-2 scale deployment rebel-base --replicas=0`
    : 'npx starlane demo scale rebel-base --replicas=0 --context cluster-2'
  return `
It goes on running until Ctrl-C. In another terminal, try:

  npx starlane exec${flag} -- curl -s rebel-base${port === 80 ? '' : `:${port}`}
  npx starlane status${flag}
  npx starlane services default/rebel-base${flag}
  npx starlane explain default/rebel-base${flag}
  ${scale}
  dig @${dnsHost} -p ${dnsPort} +short rebel-base.default.svc.cluster.local
  open http://${admin}/
`
}

/** Ctrl-C, or a polite kill, as a promise. */
function interruption(): { promise: Promise<'interrupted'>; dispose(): void } {
  const { promise, resolve } = Promise.withResolvers<'interrupted'>()
  const stop = (): void => resolve('interrupted')
  process.on('SIGINT', stop).on('SIGTERM', stop)
  return { promise, dispose: () => process.off('SIGINT', stop).off('SIGTERM', stop) }
}
