#include "reviews.h"

namespace {

// Nearly all words are in the training families, but the sentence patterns are not.

constexpr ReviewFamily validation_families[] = {
    {"A, but not B", R"(
+ The story is slow, but not dull.
+ The cast is young, but not weak.
+ The jokes are old, but not bad.
+ The script is simple, but not silly.
+ It is long, but not tedious.
+ The ending is strange, but not clumsy.
+ A sad film, but not a cold one.
- The story is quick, but not gripping.
- The cast is famous, but not good.
- The jokes are new, but not funny.
- The script is smart, but not honest.
- It is short, but not lively.
- The ending is loud, but not moving.
- A pretty film, but not a great one.)"},
    {"not A, and never B", R"(
+ It is not slow, and it never drags.
+ The plot is not predictable, and the film is never boring.
+ The lead is not weak, and she never stumbles.
+ Not a dull scene, and never a false note.
+ The music is not loud, and it never disappoints.
+ The jokes are not stale, and they never miss.
+ This is not a cold film, and it is never silly.
- It is not lively, and it never grips.
- The plot is not clever, and the film is never exciting.
- The lead is not charming, and she never shines.
- Not a good scene, and never an honest note.
- The music is not beautiful, and it never moves.
- The jokes are not fresh, and they never work.
- This is not a warm film, and it is never funny.)"},
    {"I expected X, but it is Y", R"(
+ I expected a tired comedy, but it is a fresh one.
+ I feared a dull evening, but the film is gripping.
+ We expected a weak script, but it is superb.
+ I expected nothing, but the ending is brilliant.
+ They promised noise, but the story has warmth.
+ I went in bored, but I came out delighted.
+ I expected to hate it, but I loved it.
- I expected a fresh comedy, but it is a tired one.
- I hoped for a gripping evening, but the film is dull.
- We expected a superb script, but it is weak.
- I expected a great deal, but the ending is dreadful.
- They promised warmth, but the story has only noise.
- I went in delighted, but I came out bored.
- I expected to love it, but I hated it.)"},
    {"although it is not A, it is B", R"(
+ Although it is not perfect, the film is charming.
+ Although the effects are not great, the story is moving.
+ Although the plot is not new, it never bores.
+ Although the lead is not famous, she is superb.
+ Although the jokes are not clever, they work.
+ Although I did not like the start, I loved the ending.
+ Although it is not short, it is a joy.
- Although it is not awful, the film is forgettable.
- Although the effects are not bad, the story is empty.
- Although the plot is not silly, it never thrills.
- Although the lead is not weak, she is cold.
- Although the jokes are not stale, they fail.
- Although I did not hate the start, I hated the ending.
- Although it is not long, it is a chore.)"},
};

constexpr ReviewFamily test_families[] = {
    {"it may be A, but it is never B", R"(
+ It may be slow, but it is never dull.
+ The plot may be thin, but it never falls apart.
+ The jokes may be old, but they are never bad.
+ The cast may be small, but it is never weak.
+ The film may be long, but it is never tedious.
+ The script may be simple, but it is never stale.
+ The ending may be sad, but it is never cold.
+ The effects may be cheap, but they never look silly.
- It may be lively, but it is never funny.
- The plot may be clever, but it never grips.
- The jokes may be new, but they are never good.
- The cast may be famous, but it never shines.
- The film may be beautiful, but it is never moving.
- The script may be smart, but it is never honest.
- The ending may be happy, but it is never touching.
- The effects may be great, but they never thrill.)"},
    {"not an A film, and not a B one", R"(
+ Not a bad film, and not a silly one.
+ It is not dull, and the cast is not weak.
+ The story does not drag, and the jokes are not stale.
+ The ending isn't clumsy, and the music isn't loud.
+ She is not cold, and the dialogue is not flat.
+ The plot isn't predictable, and it doesn't fall apart.
+ Not boring for a minute, and not a false note in it.
+ I was not bored, and I did not want it to end.
- Not a good film, and not a funny one.
- It is not lively, and the cast is not strong.
- The story does not move, and the jokes are not fresh.
- The ending isn't clever, and the music isn't beautiful.
- She is not charming, and the dialogue is not sharp.
- The plot isn't gripping, and it doesn't hold together.
- Not exciting for a minute, and not an honest note in it.
- I was not moved, and I did not want to see the end.)"},
    {"even with X, Y", R"(
+ Even with a weak script, the cast shines.
+ Even with its cheap effects, the film works.
+ Even without a famous name, it is a delight.
+ Even with a slow start, the story is gripping.
+ Even at three hours, it never drags.
+ Even the bad jokes are funny here.
+ Even with all its faults, I loved it.
+ Even in the tired last act, the lead is superb.
- Even with a great script, the cast bores.
- Even with its beautiful music, the film fails.
- Even with a famous name, it is a chore.
- Even with a brilliant start, the story is tedious.
- Even at one hour, it drags.
- Even the good jokes are flat here.
- Even with all its charm, I hated it.
- Even in the lively last act, the lead is dull.)"},
    {"nothing A, but something B", R"(
+ There is nothing new in the plot, but it is hardly dull.
+ Nothing about it is perfect, but the cast is a joy.
+ There is nothing deep here, but I was never bored.
+ Nothing much happens, but it is moving all the same.
+ The script has nothing clever in it, but the leads sparkle.
+ There is nothing great about the effects, but the story works.
+ I expected nothing fresh, but I was delighted.
+ Nothing in the start is good, but the ending is superb.
- There is nothing wrong with the plot, but it is hardly exciting.
- Nothing about it is awful, but the cast is a bore.
- There is nothing silly here, but I was never moved.
- Nothing much is missing, but it is tedious all the same.
- The script has nothing clumsy in it, but the leads bore.
- There is nothing cheap about the effects, but the story fails.
- I expected nothing bad, but I was disappointed.
- Nothing in the start is weak, but the ending is dreadful.)"},
    {"X, and a Y at that", R"(
+ A thriller, and a very good one.
+ The lead is charming, and the rest of the cast is as fine.
+ I laughed, I cried, and I would see it again.
+ A small story, told with warmth and wit.
+ The pace is lively and the dialogue sparkles to the end.
+ A great idea, and a script that makes the best of it.
+ Beautiful to look at, and touching too.
+ Smart, honest and very funny.
- A thriller, and a very bad one.
- The lead is dull, and the rest of the cast is as weak.
- I yawned, I slept, and I would not see it again.
- A big story, told without warmth or wit.
- The pace is slow and the dialogue drags to the end.
- A poor idea, and a script that makes the worst of it.
- Dreary to look at, and tedious too.
- Loud, hollow and very silly.)"},
    {"the N that should A, B", R"(
+ The ending, which could have been silly, is moving.
+ The jokes that sound stale on paper are funny on the screen.
+ What looks like a dull story is a gripping one.
+ The lead, whom I feared would be weak, is superb.
+ A plot that could bore us never does.
+ What begins as a mess ends as a joy.
+ The music, so often dreadful in such films, is beautiful.
+ The film could have been cold; it is warm.
- The ending, which could have been moving, is silly.
- The jokes that sound funny on paper are stale on the screen.
- What looks like a gripping story is a dull one.
- The lead, whom I hoped would be superb, is weak.
- A plot that could thrill us never does.
- What begins as a joy ends as a mess.
- The music, so often beautiful in such films, is dreadful.
- The film could have been warm; it is cold.)"},
};

}  // namespace

std::span<const ReviewFamily> validation_reviews() { return validation_families; }
std::span<const ReviewFamily> test_reviews() { return test_families; }
