/** `starlane demo`: starts two clusters and Starlane on this machine, runs the steps and prints the summary. */
import { existsSync } from 'node:fs'
import { MeshError } from '../../model/error.ts'
import { createBoard } from './board.ts'
import type { Caller } from './caller.ts'
import { kubeconfigFile } from './kubernetes.ts'
import { deploymentFile, scaleDeployment } from './pods.ts'
import { demoClusters, demoFolder, openStage, type Stage } from './stage.ts'
import { createCaller, runSteps } from './story.ts'

interface Out {
  readonly isTTY?: boolean
  write(text: string): unknown
}

/** Returns the exit code: 0 only if every step held and no request failed. */
export async function demo(
  out: Out,
  options: { hold: boolean; kubernetes: boolean; tunnel: boolean },
): Promise<number> {
  out.write('Two clusters on this machine with one global service, rebel-base. Starting pods and Starlane…\n')
  const stage = await openStage(options)
  const interrupted = interruption()
  try {
    for (const remark of stage.remarks) out.write(`note: ${remark}\n`)
    const ending = await play(out, stage, interrupted.promise)
    if (stage.observer) out.write(stage.observer.report())
    if (ending === true && options.hold) {
      out.write(suggestions(stage, options.kubernetes))
      await Promise.race([interrupted.promise, stage.crashed])
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
  const ending = await Promise.race([runSteps({ caller, stage, board }), interrupted, stage.crashed]).finally(() => {
    board.close()
    return caller.stop()
  })
  out.write(summary(caller, ending))
  return ending
}

/** `starlane demo scale rebel-base --replicas=N --context cluster-2`, for a running demo. */
export async function scaleDemo(
  out: Out,
  options: { service: string; replicas: number; context: string },
): Promise<number> {
  const cluster = demoClusters(demoFolder()).find(({ name }) => name === options.context)
  if (!cluster)
    throw new MeshError('USAGE', `the demo has no cluster "${options.context}"; it has cluster-1 and cluster-2`)
  if (options.service !== 'rebel-base')
    throw new MeshError('USAGE', `the demo has no deployment "${options.service}"; it has rebel-base`)
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
        ? 'All steps passed.'
        : 'Not all steps passed.',
    `  requests sent  ${caller.sent}`,
    `  failed         ${caller.failures.length}`,
    `  from cluster-1 ${one}`,
    `  from cluster-2 ${caller.answers.length - one}`,
    ...[...new Set(caller.failures)].slice(0, 5).map(failure => `  failure: ${failure}`),
  ]
  return `${lines.join('\n')}\n`
}

function suggestions({ folder, dns, admin, port }: Stage, kubernetes: boolean): string {
  const [dnsHost, dnsPort] = dns.split(':')
  const flag = admin === '127.0.0.1:9911' ? '' : ` --admin ${admin}`
  const scale = kubernetes
    ? `kubectl --kubeconfig ${kubeconfigFile(folder)} --context cluster-2 scale deployment rebel-base --replicas=0`
    : 'npx starlane demo scale rebel-base --replicas=0 --context cluster-2'
  return `
It keeps running until Ctrl-C. Try in another terminal:

  npx starlane exec${flag} -- curl -s rebel-base${port === 80 ? '' : `:${port}`}
  npx starlane status${flag}
  npx starlane services default/rebel-base${flag}
  npx starlane explain default/rebel-base${flag}
  ${scale}
  dig @${dnsHost} -p ${dnsPort} +short rebel-base.default.svc.cluster.local
  open http://${admin}/
`
}

/** Resolves at SIGINT or SIGTERM. */
function interruption(): { promise: Promise<'interrupted'>; dispose(): void } {
  const { promise, resolve } = Promise.withResolvers<'interrupted'>()
  const stop = (): void => resolve('interrupted')
  process.on('SIGINT', stop).on('SIGTERM', stop)
  return { promise, dispose: () => process.off('SIGINT', stop).off('SIGTERM', stop) }
}
