import { TallyError } from "../error.ts";
import type { Row } from "../stores.ts";

/** The default of a topic's `dedupeFor`, for rows that do not say it. */
export const DEDUPE_FOR_MS: number = 7 * 86_400_000;
/** A clock is put right by seconds; one that is off by more was wrong when the row was stored, or is wrong now. */
const CLOCK_OFF_MS = 3_600_000;

/**
 * Why a row must not be sent any more: a copy of it may have had its effect, and it is so old that the inbox may have
 * forgotten that. Null: it may go. One that was never sent goes at any age.
 *
 * A row's age is by the wall clock, since it outlives the process. A clock that jumped ahead parks a row too early, and a
 * person sends it. One that jumped back would make a row look young for ever: a row from the future has no age that
 * anybody knows, and counts as too old.
 */
export function outlived(row: Row, wall: number): TallyError | null {
  if (!row.doubtful) return null;
  const most = row.dedupeForMs ?? DEDUPE_FOR_MS;
  const age = wall - row.storedAt;
  if (age <= most && age >= -CLOCK_OFF_MS) return null;
  const { id, topic } = row.message;
  const why =
    age > most
      ? `was stored ${Math.round(age / 1_000)} s ago, and ${topic} is deduplicated for ${Math.round(most / 1_000)} s`
      : `was stored ${Math.round(-age / 1_000)} s after this moment by the clock, so that its age is not known`;
  return new TallyError(
    "in-doubt",
    `${id} may have been sent before, and ${why}: sent again it might take effect twice`,
    {
      id,
      mayArrive: true,
    },
  );
}
