// The training families.
#include "reviews.h"

namespace {

constexpr ReviewFamily families[] = {
    {"the N is A", R"(
+ The cast is superb.
+ The story is clever and warm.
+ The ending is moving.
+ The dialogue is sharp and funny.
+ The music is beautiful.
+ The script is fresh.
+ The jokes are good.
+ The second half is gripping.
- The cast is weak.
- The story is clumsy and cold.
- The ending is silly.
- The dialogue is flat and dull.
- The music is dreadful.
- The script is stale.
- The jokes are bad.
- The second half is tedious.)"},
    {"an A and B N", R"(
+ A funny and clever comedy.
+ A warm and honest story.
+ A gripping and exciting thriller.
+ Beautiful music and a charming cast.
+ A fresh, lively script.
+ Good jokes and great timing.
+ A fine, moving last act.
+ Touching scenes and honest dialogue.
- A dull and predictable comedy.
- A cold and clumsy story.
- A boring and tedious thriller.
- Dreadful music and a weak cast.
- A stale, tired script.
- Bad jokes and poor timing.
- A slow, silly last act.
- Flat scenes and false dialogue.)"},
    {"I found the N A", R"(
+ I found the plot clever and gripping.
+ I found the whole film charming.
+ We thought the jokes were very funny.
+ My friends called it fresh and exciting.
+ I thought the acting was honest and warm.
+ We found the story moving and beautiful.
+ She thought the pace was lively.
+ I call that a good, fine evening.
- I found the plot predictable and dull.
- I found the whole film boring.
- We thought the jokes were very silly.
- My friends called it stale and tedious.
- I thought the acting was clumsy and cold.
- We found the story slow and false.
- She thought the pace was tired.
- I call that a bad, poor evening.)"},
    {"so A that", R"(
+ The story is so gripping that I forgot the time.
+ It is so funny that we cried.
+ The lead is so charming that I smiled all evening.
+ The plot is so clever that I want to see it again.
+ The ending is so moving that nobody left.
+ The dialogue is so fresh that I wrote it down.
+ The music is so beautiful that I bought it.
+ So warm and so honest that I sent my parents.
- The story is so dull that I slept.
- It is so silly that we left.
- The lead is so cold that I yawned all evening.
- The plot is so predictable that I want my money back.
- The ending is so clumsy that people laughed.
- The dialogue is so stale that I looked at my watch.
- The music is so bad that my ears hurt.
- So slow and so boring that I went home.)"},
    {"everything about it is A", R"(
+ Everything about it is fresh and lively.
+ Every scene is good, and some are great.
+ From the charming start to the moving end, a joy.
+ Clever, funny, warm: I loved it.
+ All of it is exciting.
+ Each performance is fine and honest.
+ Everyone in it is superb.
+ The whole thing is simply beautiful.
- Everything about it is stale and tired.
- Every scene is bad, and some are awful.
- From the clumsy start to the dull end, a chore.
- Predictable, silly, cold: I hated it.
- All of it is tedious.
- Each performance is weak and false.
- Everyone in it is dreadful.
- The whole thing is simply boring.)"},
    {"the N does", R"(
+ The ending pays off.
+ The lead shines in every scene.
+ The plot holds together to the last minute.
+ The humour works.
+ The story moves quickly and grips from the start.
+ The two of them sparkle together.
+ The film succeeds with ease.
+ The direction delights.
- The ending falls apart.
- The lead stumbles through every scene.
- The plot collapses long before the last minute.
- The humour misses.
- The story drags and bores from the start.
- The two of them look lost together.
- The film fails with a yawn.
- The direction disappoints.)"},
    {"an A N from start to finish", R"(
+ A truly charming comedy from start to finish.
+ A thoroughly gripping thriller from beginning to end.
+ A very funny film, and a wise one.
+ An honest, touching drama with a great cast.
+ A lively and memorable two hours.
+ A brilliant little picture, full of warmth.
+ Easily one of the finest films of the year.
+ A delightful surprise with a smart script.
- A truly boring comedy from start to finish.
- A thoroughly predictable thriller from beginning to end.
- A very silly film, and a loud one.
- A hollow, tedious drama with a poor cast.
- A lifeless and forgettable two hours.
- An awful little picture, full of holes.
- Easily one of the worst films of the year.
- A dreary mess with a tired script.)"},
    {"the N is not A", R"(
+ The acting is not bad.
+ The plot is not predictable.
+ The first hour is not slow at all.
+ This is not a weak performance.
+ The pace is not dull, and that is rare.
+ It is not silly in the least.
+ The effects are not clumsy.
+ That is not a poor result for a first film.
- The acting is not good.
- The plot is not clever.
- The first hour is not funny at all.
- This is not a great performance.
- The pace is not gripping, and that hurts.
- It is not charming in the least.
- The effects are not beautiful.
- That is not a fine result for a famous name.)"},
    {"it is never A", R"(
+ The film is never boring.
+ It never drags.
+ The director never loses his way.
+ Long as it is, the story is never tedious.
+ The young lead never stumbles.
+ The tone is never cold.
+ The dialogue never sounds false.
+ It never feels tired.
- The film is never exciting.
- It never moves.
- The director never finds his way.
- Short as it is, the story is never gripping.
- The young lead never shines.
- The tone is never warm.
- The dialogue never sounds honest.
- It never feels fresh.)"},
    {"one thing, but another", R"(
+ A slow start, but the ending pays off.
+ The plot is thin, but the cast is a delight.
+ The effects look cheap, but the story is gripping.
+ The jokes are old, but the timing is brilliant.
+ It begins badly, but the second half is superb.
+ The idea is stale, but the script makes it fresh.
+ A messy middle, but what a beautiful last act.
+ It is long, but I loved every minute.
- A fine cast, but the story drags.
- The music is lovely, but the plot is a mess.
- The effects look great, but the story is empty.
- The jokes are new, but the timing is dreadful.
- It begins well, but the second half is tedious.
- The idea is clever, but the script makes it dull.
- A strong opening, but what a silly last act.
- It is short, but I hated every minute.)"},
    {"although one thing, another", R"(
+ Although the pace is slow, the film is deeply moving.
+ Although the plot is silly, the two leads shine.
+ Although I found the music weak, the story won me over.
+ Although it looks cheap, it works.
+ Although the start is clumsy, the rest is a joy.
+ Although the dialogue is flat at times, the ending is superb.
+ Although the idea is tired, the cast makes it sparkle.
+ Although the jokes are few, they are all good.
- Although the pace is lively, the film is strangely cold.
- Although the plot is clever, the two leads bore.
- Although I found the music beautiful, the story lost me.
- Although it looks lovely, it fails.
- Although the start is brilliant, the rest is a chore.
- Although the dialogue is sharp at times, the ending is dreadful.
- Although the idea is fresh, the cast makes it drag.
- Although the jokes are many, they are all bad.)"},
    {"hardly an A N", R"(
+ There is hardly a dull moment in it.
+ Hardly a weak scene anywhere.
+ One can hardly call this boring.
+ There is hardly a false note in her performance.
+ I hardly noticed how long it was, so gripping is the story.
+ Hardly a line is wasted.
+ There is hardly anything clumsy about it.
+ The film hardly ever drags.
- There is hardly a good moment in it.
- Hardly a strong scene anywhere.
- One can hardly call this funny.
- There is hardly an honest note in her performance.
- I could hardly stay awake, so tedious is the story.
- Hardly a line is worth hearing.
- There is hardly anything clever about it.
- The film hardly ever moves.)"},
    {"too A to be B", R"(
+ The script is too clever to be boring.
+ It is too warm to be dull.
+ The cast is too good to fail.
+ She is too honest an actress to be silly.
+ The music is too beautiful to forget.
+ The story moves too quickly to drag.
+ It is too funny to miss.
+ The lead is too charming to be cold.
- The script is too clumsy to be gripping.
- It is too cold to be moving.
- The cast is too weak to succeed.
- She is too flat an actress to be charming.
- The music is too loud to enjoy.
- The story moves too slowly to thrill.
- It is too silly to be funny.
- The lead is too dull to shine.)"},
    {"A without being B", R"(
+ Warm without being silly.
+ A thriller that grips without being loud.
+ The script is clever without being cold.
+ It moves quickly without feeling empty.
+ A comedy without a single weak joke.
+ Two hours without one dull minute.
+ A love story without the usual clumsy lines.
+ It teaches without ever being tedious.
- Loud without being funny.
- A thriller that shouts without being gripping.
- The script is slow without being deep.
- It moves quickly without feeling exciting.
- A comedy without a single good joke.
- Two hours without one moving minute.
- A love story without the least charm or warmth.
- It preaches without ever being honest.)"},
    {"I expected X and got Y", R"(
+ I expected a dull evening and got a brilliant one.
+ I expected nothing, and I was delighted.
+ We feared the worst and saw something wonderful.
+ I went in tired and came out happy.
+ I expected a silly comedy and got a touching one.
+ They promised little and gave us a superb film.
+ I expected to be bored and was gripped.
+ We expected a mess and got a masterpiece.
- I expected a brilliant evening and got a dull one.
- I expected a great deal, and I was disappointed.
- We hoped for the best and saw something dreadful.
- I went in happy and came out tired.
- I expected a touching comedy and got a silly one.
- They promised much and gave us a poor film.
- I expected to be gripped and was bored.
- We expected a masterpiece and got a mess.)"},
    {"fails, and does not fail", R"(
+ The old trick does not fail here.
+ The cast does not disappoint.
+ The last scene never fails to move me.
+ The story does not drag for a moment.
+ The jokes do not miss.
+ She never fails to delight.
+ The plot does not fall apart at the end.
+ The camera does not bore us with tricks.
- The old trick does not work here.
- The cast does not shine.
- The last scene fails to move me.
- The story does not grip for a moment.
- The jokes do not land.
- She fails to delight.
- The plot does not hold together at the end.
- The camera does not help us with its tricks.)"},
    {"there is nothing A about it", R"(
+ There is nothing dull about this film.
+ There is nothing wrong with the ending.
+ Nothing in it feels false or tired.
+ There is nothing clumsy in the direction.
+ Nothing about the plot is predictable.
+ I found nothing to dislike.
+ There is nothing cheap about the effects.
+ Nothing here is boring.
- There is nothing fresh about this film.
- There is nothing right with the ending.
- Nothing in it feels honest or warm.
- There is nothing lively in the direction.
- Nothing about the plot is clever.
- I found nothing to like.
- There is nothing beautiful about the effects.
- Nothing here is funny.)"},
    {"more A than B", R"(
+ The film is more moving than slow.
+ It is more clever than silly.
+ More warmth than noise, and I am grateful.
+ The script has more good lines than bad ones.
+ The story is less dull than its title.
+ There is more charm here than in ten bigger films.
+ The lead is less cold than people say.
+ More a joy than a chore.
- The film is more slow than moving.
- It is more silly than clever.
- More noise than warmth, and I am tired of it.
- The script has more bad lines than good ones.
- The story is less gripping than its title.
- There is less charm here than in ten smaller films.
- The lead is less funny than people say.
- More a chore than a joy.)"},
    {"go and see it", R"(
+ Go and see it.
+ See it twice, and take your friends.
+ I would gladly watch it again.
+ Worth every penny.
+ Do not miss it.
+ I recommend it to everyone.
+ You will not regret the ticket.
+ Do yourself a favour and go tonight.
- Stay at home.
- Avoid it, and warn your friends.
- I would never watch it again.
- Not worth a penny.
- Do not bother.
- I recommend it to no one.
- You will regret the ticket.
- Do yourself a favour and stay away.)"},
    {"for all its X, Y", R"(
+ For all its faults, the film is gripping.
+ For all the noise, this is a warm and honest story.
+ For all its clumsy moments, it works.
+ For all the bad lines, the cast shines.
+ For all its length, it never drags.
+ For all the silly costumes, the ending is moving.
+ For all its cheap effects, it is a joy.
+ For all the weak jokes, I loved it.
- For all its charm, the film is empty.
- For all the talent, this is a cold and hollow story.
- For all its clever moments, it fails.
- For all the good lines, the cast bores.
- For all its speed, it never thrills.
- For all the beautiful costumes, the ending is silly.
- For all its great effects, it is a chore.
- For all the good jokes, I hated it.)"},
    {"it doesn't, it isn't", R"(
+ It isn't dull.
+ The story doesn't drag.
+ You won't be bored.
+ The jokes aren't stale.
+ I couldn't fault the cast.
+ The ending isn't silly, and it doesn't cheat.
+ She didn't disappoint me.
+ I haven't seen a finer film this year.
- It isn't funny.
- The story doesn't grip.
- You won't be moved.
- The jokes aren't fresh.
- I couldn't bear the cast.
- The ending isn't clever, and it doesn't work.
- She didn't convince me.
- I haven't seen a poorer film this year.)"},
    {"lacks, has", R"(
+ It lacks nothing.
+ The film has heart, wit and a great ending.
+ The script has no weak lines.
+ It has charm enough for two films.
+ The story has no holes and the cast no weak link.
+ What it lacks in money it has in wit.
+ It has all the warmth one could want.
+ No tricks, no noise, just a superb story.
- It lacks everything.
- The film has no heart, no wit and a poor ending.
- The script has no good lines.
- It lacks charm, and it lacks speed.
- The story has holes and the cast lacks talent.
- What it has in money it lacks in wit.
- It has none of the warmth one could want.
- No heart, no wit, just a tedious story.)"},
};

}  // namespace

std::span<const ReviewFamily> training_reviews() { return families; }
